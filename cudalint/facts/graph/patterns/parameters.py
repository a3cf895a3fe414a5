"""The arguments of a torch call that the graph keeps as it is, by the names of its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.values import Value


def parameters(value: Value, names: Sequence[str], skip: int = 0) -> dict[str, Value] | None:
    """What a call is given, by parameter; None where `*args` or `**kwargs` may give more.

    The last operands belong to the keywords among the attributes; `skip` leading operands and
    attributes are no arguments. An explicit None is left out.
    """
    keywords = [str(name) for name in value.attrs[skip:]]
    operands = value.operands[skip:]
    plain = len(operands) - len(keywords)
    if plain > len(names) or "**" in keywords or any(v.op == "star" for v in operands):
        return None
    given = dict(zip(names, operands[:plain], strict=False))
    given.update(zip(keywords, operands[plain:], strict=True))
    return {name: v for name, v in given.items() if not is_const(v, None)}
