"""How many positions an operand of an attention has, also where its whole shape is not in sight."""

from __future__ import annotations

from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.values import Value

_THROUGH = frozenset({"add", "mul", "cast", "dropout"})
_DEPTH = 6


def positions(value: Value, depth: int = _DEPTH) -> tuple[Value | None, bool]:
    """The second to last size, and whether the shape proves it.

    Not proven: `q * cos + rotate_half(q) * sin` has the length of `q` wherever the tables are not
    longer than `q`, whatever their rank.
    """
    if value.shape is not None:
        known = len(value.shape) > 1 and not is_const(value.shape[-2], 1)
        return (value.shape[-2] if known else None), True
    if value.op not in _THROUGH or not depth:
        return None, False
    operands = value.operands[:1] if value.op in ("cast", "dropout") else value.operands
    found = [positions(operand, depth - 1)[0] for operand in operands]
    sizes = {size.id: size for size in found if size is not None}
    return (next(iter(sizes.values())) if len(sizes) == 1 else None), False
