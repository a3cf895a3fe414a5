"""Triangles: masks whose elements depend on nothing but the side of the diagonal they are on.

A mask is read as the number it holds on and below the diagonal, and the number it holds above it,
through everything that people make masks with. So `tril(ones(n, n)).bool()`, `triu(…, 1) == 0` and
`zeros(n, n).masked_fill(above, float("-inf"))` need no pattern each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.masks import is_infinite
from cudalint.facts.graph.patterns.parameters import parameters
from cudalint.facts.graph.pool import constant, is_const, is_number, number
from cudalint.facts.graph.values import Graph, Value
from cudalint.records import record, replace

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_FILLED = {"torch.ones": 1.0, "torch.zeros": 0.0, "torch.new_ones": 1.0, "torch.new_zeros": 0.0}
_SQUARE = "torch.nn.Transformer.generate_square_subsequent_mask"
_DEEP = 30


@record(frozen=True)
class Triangle:
    """What a mask holds on the lower side and above it, its two lengths, its dims.

    `side`: "lower" holds `inside` where column ≤ row, "upper" where column ≥ row; "" is the same
    everywhere. `rows` is None for a plain number.
    """

    inside: float
    outside: float
    side: str = ""
    rows: Value | None = None
    columns: Value | None = None
    boolean: bool = False
    rank: int = 2

    @property
    def keeps(self) -> bool:
        """True for the keys up to the query: the boolean mask of causal attention."""
        return self.side == "lower" and self.boolean and (self.inside, self.outside) == (1, 0)

    @property
    def adds(self) -> bool:
        """Zero up to the query, and hardly any weight above: the mask that is added."""
        low = self.outside <= -1e4
        return self.side == "lower" and not self.boolean and self.inside == 0 and low


def triangle(facts: PythonFacts, graph: Graph, value: Value, depth: int = _DEEP) -> Triangle | None:
    """A value as a triangle, or as a constant; None where it is neither."""
    if depth == 0:
        return None
    if value.op == "self":
        return _buffer(facts, graph, value, depth)

    def read(operand: Value) -> Triangle | None:
        return triangle(facts, graph, operand, depth - 1)

    found = _plain(value)
    if found is None:
        reader = _READERS.get(value.op)
        found = reader(value, read) if reader is not None else None
    if found is None or math.isnan(found.inside) or math.isnan(found.outside):
        return None
    return found


Read = Callable[[Value], "Triangle | None"]


def _plain(value: Value) -> Triangle | None:
    """A number, minus infinity, or the least number of a dtype."""
    if is_infinite(value):
        return Triangle(-math.inf, -math.inf)
    if is_number(value):
        return Triangle(number(value), number(value))
    if value.op == "const" and isinstance(value.attrs[1], bool):
        return Triangle(float(value.attrs[1]), float(value.attrs[1]), boolean=True)
    if value.op == "attr" and value.attrs == ("min",) and value.operands[0].op == "finfo":
        return Triangle(-6e4, -6e4)
    return None


def _filled(value: Value, read: Read) -> Triangle | None:
    """`torch.ones(n, n)`, `torch.full((n, n), fill)`."""
    full = value.op == "torch.full"
    first = value.op.startswith("torch.new_")
    sizes = list(value.operands[first : len(value.operands) - len(value.attrs)])
    fill = Triangle(_FILLED.get(value.op, 0.0), _FILLED.get(value.op, 0.0))
    if full:
        given = parameters(value, ("size", "fill_value")) or {}
        sizes = [given["size"]] if "size" in given else []
        found = read(given["fill_value"]) if "fill_value" in given else None
        if found is None or found.rows is not None:
            return None
        fill = found
    if len(sizes) == 1 and sizes[0].op in ("tuple", "list"):
        sizes = list(sizes[0].operands)
    if len(sizes) < 2 or any(size.op == "star" for size in sizes):
        return None
    if not all(is_const(size, 1) for size in sizes[:-2]):
        return None
    given = dict(zip(value.attrs[::-1], value.operands[::-1], strict=False))
    boolean = _is_bool(given["dtype"]) if "dtype" in given else fill.boolean and full
    rows, columns = sizes[-2:]
    return replace(fill, rows=rows, columns=columns, boolean=boolean, rank=len(sizes))


def _is_bool(dtype: Value) -> bool:
    return dtype.op == "global" and str(dtype.attrs[0]) in ("torch.bool", "builtins.bool")


def _cut(value: Value, read: Read) -> Triangle | None:
    """`tril` and `triu` with the diagonals that leave a causal triangle, or its complement."""
    given = parameters(value, ("input", "diagonal"))
    base = read(value.operands[0])
    if given is None or base is None or base.side or base.rows is None:
        return None
    lower = value.op == "torch.tril"
    at = constant(given["diagonal"]) if "diagonal" in given else 0
    kept = base.inside
    if at == 0:
        return replace(base, inside=kept, outside=0.0, side="lower" if lower else "upper")
    if at == (-1 if lower else 1):
        return replace(base, inside=0.0, outside=kept, side="upper" if lower else "lower")
    return None


def _cast(value: Value, read: Read) -> Triangle | None:
    base = read(value.operands[0])
    if base is None:
        return None
    if value.attrs != ("bool",):
        return replace(base, boolean=False)
    return replace(
        base, inside=float(base.inside != 0), outside=float(base.outside != 0), boolean=True
    )


def _not(value: Value, read: Read) -> Triangle | None:
    base = read(value.operands[0])
    if base is None or (value.op == "not" and not base.boolean):
        return None
    return replace(base, inside=1 - base.inside, outside=1 - base.outside)


def _combined(value: Value, read: Read) -> Triangle | None:
    """Two operands, element by element, one of them the same everywhere or both of one side."""
    one, two = (read(operand) for operand in value.operands)
    if one is None or two is None or (one.side and two.side and one.side != two.side):
        return None
    if one.rows is not None and two.rows is not None and not _same_sizes(one, two):
        return None
    base = one if one.side or two.rows is None else two
    step = _STEPS[value.op]
    boolean = value.op in _TESTS or (value.op in _LOGIC and one.boolean and two.boolean)
    if value.op in _LOGIC and not boolean:
        return None
    return replace(
        base,
        inside=float(step(one.inside, two.inside)),
        outside=float(step(one.outside, two.outside)),
        side=one.side or two.side,
        boolean=boolean,
        rank=max(one.rank, two.rank),
    )


def _same_sizes(one: Triangle, two: Triangle) -> bool:
    return one.rows is two.rows and one.columns is two.columns


def _chosen(value: Value, read: Read) -> Triangle | None:
    """`where(test, a, b)`, and `base.masked_fill(test, fill)`, which is `where(test, fill, base)`."""
    order = (0, 1, 2) if value.op == "where" else (1, 2, 0)
    test, yes, no = (read(value.operands[at]) for at in order)
    if test is None or yes is None or no is None or not test.boolean or test.rows is None:
        return None
    for other in (yes, no):
        if other.side not in ("", test.side) and test.side:
            return None
        if other.rows is not None and not _same_sizes(other, test):
            return None
    return replace(
        test,
        inside=yes.inside if test.inside else no.inside,
        outside=yes.outside if test.outside else no.outside,
        side=test.side or yes.side or no.side,
        boolean=yes.boolean and no.boolean,
    )


def _turned(value: Value, read: Read) -> Triangle | None:
    """The transposition of a matrix."""
    base = read(value.operands[0])
    square = value.attrs in ((-1, -2), (0, 1)) and base is not None and base.rows is not None
    if base is None or not square or (value.op == "transpose" and base.rank != 2):
        return None
    side = {"lower": "upper", "upper": "lower", "": ""}[base.side]
    return replace(base, side=side, rows=base.columns, columns=base.rows)


def _kept(value: Value, read: Read) -> Triangle | None:
    return read(value.operands[0])


def _widened(value: Value, read: Read) -> Triangle | None:
    """`unsqueeze` before the last two dims."""
    base, at = read(value.operands[0]), value.attrs[0]
    if base is None or not isinstance(at, int):
        return None
    at -= base.rank + 1 if at >= 0 else 0
    return replace(base, rank=base.rank + 1) if at <= -3 else None


def _viewed(value: Value, read: Read) -> Triangle | None:
    """A view or an expansion that keeps the last two dims."""
    base, sizes = read(value.operands[0]), value.operands[1:]
    if base is None or len(sizes) < 2 or value.attrs == ("?",) or base.rows is None:
        return None
    expands = value.op == "expand"
    for size, known in zip(sizes[-2:], (base.rows, base.columns), strict=True):
        if size is not known and not (expands and is_const(size, -1)):
            return None
    if not expands and not all(is_const(size, 1) for size in sizes[:-2]):
        return None
    return replace(base, rank=len(sizes))


def _sliced(value: Value, read: Read) -> Triangle | None:
    """`mask[None, None]`, `mask[:, :, :n, :n]`: new dims in front, the first n rows and columns."""
    base, indices = read(value.operands[0]), list(value.operands[1:])
    if base is None or base.rows is None:
        return None
    taken: list[Value | None] = [
        at for at in indices if not is_const(at, None) and not is_const(at, ...)
    ]
    if any(is_const(at, ...) for at in indices):
        missing = base.rank - len(taken)
    elif len(taken) <= base.rank:
        missing = 0
        taken += [None] * (base.rank - len(taken))
    else:
        return None
    if missing < 0 or not _leads(indices) or not all(_is_whole(at) for at in taken[:-2]):
        return None
    last = taken[-2:] if len(taken) >= 2 else []
    if len(last) != 2:
        return None
    sizes = [_upto(at, known) for at, known in zip(last, (base.rows, base.columns), strict=True)]
    if sizes[0] is None or sizes[1] is None:
        return None
    rank = base.rank + sum(is_const(at, None) for at in indices)
    return replace(base, rows=sizes[0], columns=sizes[1], rank=rank)


def _leads(indices: list[Value]) -> bool:
    """Whether new dims stand in front of everything that is sliced."""
    seen = False
    for at in indices:
        if is_const(at, None):
            if seen:
                return False
        else:
            seen = True
    return True


def _is_whole(at: Value | None) -> bool:
    return at is None or (at.op == "slice" and all(is_const(part, None) for part in at.operands))


def _upto(at: Value | None, known: Value | None) -> Value | None:
    """The length that `:` or `:n` leaves."""
    if at is None or _is_whole(at):
        return known
    if at.op != "slice" or not is_const(at.operands[2], None):
        return None
    start, stop = at.operands[0], at.operands[1]
    if not (is_const(start, None) or is_const(start, 0)) or (is_number(stop) and number(stop) < 0):
        return None
    return stop


def _subsequent(value: Value, read: Read) -> Triangle | None:
    """`nn.Transformer.generate_square_subsequent_mask(n)`."""
    given = parameters(value, ("sz",))
    if given is None or "sz" not in given:
        return None
    return Triangle(0.0, -math.inf, "lower", given["sz"], given["sz"])


def _buffer(facts: PythonFacts, graph: Graph, value: Value, depth: int) -> Triangle | None:
    """`self.mask`, where the class makes it once."""
    holder = facts.graphs.classes.of(graph.function)
    node = holder.assigned(str(value.attrs[0])) if holder is not None else None
    maker = facts.names.enclosing(node, "function_definition") if node is not None else None
    if node is None or maker is None or maker == graph.function:
        return None
    made = facts.graphs.of(maker)
    found = value_of(facts, made, node)
    return triangle(facts, made, found, depth - 1) if found is not None else None


def value_of(facts: PythonFacts, graph: Graph, node: Node) -> Value | None:
    """The value of an expression of a function: by its node, or by the name that it is."""
    if graph.opaque is not None:
        return None
    if node.type == "identifier":
        slot = graph.before.get(facts.names.statement(node).id, {}).get(facts.code(node))
        return slot.value if slot is not None else None
    return next((value for value in graph.values if value.node == node), None)


def _product(one: float, two: float) -> float:
    return math.nan if 0 in (one, two) and math.inf in (abs(one), abs(two)) else one * two


_TESTS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
_LOGIC = frozenset({"and", "or"})
_STEPS: dict[str, Callable[[float, float], float]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "and": lambda a, b: bool(a) and bool(b),
    "or": lambda a, b: bool(a) or bool(b),
    "add": lambda a, b: a + b,
    "mul": _product,
}
_READERS: dict[str, Callable[[Value, Read], Triangle | None]] = {
    **dict.fromkeys((*_FILLED, "torch.full"), _filled),
    **dict.fromkeys(("torch.tril", "torch.triu"), _cut),
    **dict.fromkeys(_STEPS, _combined),
    **dict.fromkeys(("where", "masked_fill"), _chosen),
    **dict.fromkeys(("permute", "transpose"), _turned),
    **dict.fromkeys(("to_device", "detach"), _kept),
    **dict.fromkeys(("view", "expand"), _viewed),
    "cast": _cast,
    "not": _not,
    "unsqueeze": _widened,
    "index": _sliced,
    _SQUARE: _subsequent,
}
