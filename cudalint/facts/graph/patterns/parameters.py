"""The arguments of a torch call that the graph keeps as it is, by the names of its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.values import Value


def parameters(
    value: Value, names: Sequence[str], attrs: int = 0, operands: int = 0
) -> dict[str, Value] | None:
    """What a call is given, by parameter; None where `*args` or `**kwargs` may give more.

    The last operands belong to the keywords among the attributes; `attrs` attributes and
    `operands` operands before these are no arguments. An explicit None is left out.
    """
    keywords = [str(name) for name in value.attrs[attrs:]]
    arguments = value.operands[operands:]
    plain = len(arguments) - len(keywords)
    if not 0 <= plain <= len(names) or "**" in keywords or any(v.op == "star" for v in arguments):
        return None
    given = dict(zip(names, arguments[:plain], strict=False))
    given.update(zip(keywords, arguments[plain:], strict=True))
    return {name: v for name, v in given.items() if not is_const(v, None)}


def handed(value: Value) -> list[Value]:
    """A value, and what it was before unknown calls that were given it: numbers and modules stay what they are."""
    found = [value]
    while found[-1].op == "opaque" and found[-1].attrs == ("unknown call",):
        found.append(found[-1].operands[0])
    return found
