"""Root-mean-square norms: a value times the inverse root of the mean of its squares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cudalint.facts.graph.match import Match, either, first, op, product, through, var
from cudalint.facts.graph.pool import is_const, is_number, number
from cudalint.facts.graph.values import META, Graph, Use, Value

if TYPE_CHECKING:
    from tree_sitter import Node

Cast = Literal["llama", "late", "none"]


def _over_last(value: Value) -> bool:
    return value.attrs[0] == (-1,) and value.attrs[1] is True


def _over_last_dropped(value: Value) -> bool:
    return value.attrs[0] == (-1,) and value.attrs[1] is False


_CASTS = frozenset({"cast"})
_SQUARE = op("pow", var("wide"), attrs=(2,))
_MEAN = either(
    op("mean", _SQUARE, attrs=_over_last),
    op("unsqueeze", op("mean", _SQUARE, attrs=_over_last_dropped), attrs=(-1,)),
    product(
        op("sum", _SQUARE, attrs=_over_last),
        op("pow", var("length", lambda v: v.op in ("size", "self", "number")), attrs=(-1,)),
    ),
)
_WIDE_MEAN = through(_CASTS, _MEAN)
_ROOT = either(
    op("pow", op("add", _WIDE_MEAN, var("eps")), attrs=(-0.5,)),
    op("pow", _WIDE_MEAN, attrs=(-0.5,)),
)
_WEIGHT = re.compile(r"weight|gamma|gain|scale|^g$|^w$|alpha", re.IGNORECASE)


@dataclass(eq=False)
class RmsNorm:
    """One norm: `result` is the last value that the fused function computes as well."""

    result: Value
    x: Value
    eps: Value | None
    weight: Value | None = None
    offset: float = 0.0
    cast: Cast = "none"
    optional: tuple[Value, bool] | None = None  # the weight is applied where the test is so
    upcast: bool = False
    back: Value | None = None  # the cast of the result
    rounded: bool = False  # cast before the weight, which makes it llama's order
    weight_cast: bool = False  # the weight is cast before it is applied
    typed: bool = False  # cast to the weight's dtype where that is half, as T5 does
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)
    used: bool = False  # an intermediate value is used elsewhere

    def first(self, function: Node) -> Node | None:
        nodes = [
            v.node for v in self.consumed.values() if v.node is not None and v.body == function
        ]
        return min(nodes, key=lambda node: node.start_byte, default=None)


def rms_norms(graph: Graph) -> Iterator[RmsNorm]:
    """The norms of a graph."""
    for value in graph.of("pow"):
        if value.attrs != (-0.5,) or len(value.operands) != 1:
            continue
        found = first(_ROOT, value)
        if found is None or not _is_norm(found):
            continue
        norm = _climb(graph, value, found)
        if norm is not None:
            _close(graph, norm)
            yield norm


def _is_norm(found: Match) -> bool:
    """Not of what a mean was taken off (that is a layer norm), and with a plain epsilon."""
    wide, length, eps = found["wide"], found.get("length"), found.get("eps")
    if _is_centred(narrow(wide)):
        return False
    if length is not None and length.op == "size":
        of_it = narrow(length.operands[0]) is narrow(wide)
        if length.attrs != (-1,) or not of_it:
            return False
    return eps is None or eps.op not in ("mean", "pow", "matmul", "var", "std")


def _is_centred(value: Value) -> bool:
    if value.op != "add":
        return False
    return any(
        part.op == "mul" and is_const(part.operands[1], -1) and part.operands[0].op == "mean"
        for part in value.operands
    )


def narrow(value: Value) -> Value:
    """A value before it was cast to float32."""
    while value.op == "cast" and value.attrs == ("float32",):
        value = value.operands[0]
    return value


def _climb(graph: Graph, root: Value, found: Match) -> RmsNorm | None:
    """From the inverse root up through the product with x, the weight and the casts."""
    x = narrow(found["wide"])
    norm = RmsNorm(root, x, found.get("eps"))
    norm.consumed = {value.id: value for value in found.consumed}
    norm.upcast = found["wide"] is not x
    at, met = root, False
    while True:
        users = [use.user for use in graph.uses(at)]
        distinct = {user.id: user for user in users if user is not None and user.op not in META}
        if None in users or not distinct:
            break
        step = _step(norm, at, list(distinct.values()), met)
        if step is None:
            break
        above, met = step
        if met:
            norm.result = above
        norm.consumed[above.id] = above
        at = above
    norm.consumed = {k: v for k, v in norm.consumed.items() if v.id <= norm.result.id}
    return norm if norm.result is not root else None


def _step(norm: RmsNorm, at: Value, users: list[Value], met: bool) -> tuple[Value, bool] | None:
    """One operation further up; None where the norm ends."""
    if len(users) > 1 and met:
        return _joined(norm, at, users)
    products = [user for user in users if user.op == "mul" and _takes(norm, at, user)]
    if len(users) > 1 and len(products) != 1:
        return None
    user = products[0] if products else users[0]
    if user.op == "mul":
        other = user.operands[1] if user.operands[0] is at else user.operands[0]
        if not met and narrow(other) is norm.x:
            norm.upcast = norm.upcast or other is not norm.x
            return user, True
        return (user, met) if norm.weight is None and _take_weight(norm, other) else None
    if user.op == "cast" and met and norm.back is None and _fits(norm, user):
        norm.back = user
        norm.rounded = norm.weight is None
        return user, True
    return None


def _takes(norm: RmsNorm, at: Value, user: Value) -> bool:
    """Whether a product is the one with x."""
    other = user.operands[1] if user.operands[0] is at else user.operands[0]
    return narrow(other) is norm.x


def _joined(norm: RmsNorm, at: Value, users: list[Value]) -> tuple[Value, bool] | None:
    """`if self.weight is not None: x = x * self.weight`, or T5's cast to half weights."""
    joins = [user for user in users if user.op == "phi"]
    inner = [user for user in users if user.op != "phi"]
    if len(joins) != 1 or len(inner) != 1 or at not in joins[0].operands[1:]:
        return None
    join, made = joins[0], inner[0]
    if made not in join.operands[1:]:
        return None
    wanted = join.operands[1] is made
    if made.op == "cast" and norm.weight is None and norm.back is None:
        if len(made.operands) < 2 or made.operands[1].op != "dtype":
            return None
        norm.back, norm.rounded, norm.typed = made, True, True
    elif made.op == "mul" and norm.weight is None:
        other = made.operands[1] if made.operands[0] is at else made.operands[0]
        if not _take_weight(norm, other):
            return None
        norm.optional = (join.operands[0], wanted)
    else:
        return None
    norm.consumed[made.id] = made
    return join, True


def _take_weight(norm: RmsNorm, other: Value) -> bool:
    """Whether a factor is the norm's weight; `1 + weight` and a cast of it are read through."""
    value, offset = other, 0.0
    if value.op == "cast":
        value = value.operands[0]
    if value.op == "add" and any(is_number(part) for part in value.operands):
        plain = next(part for part in value.operands if is_number(part))
        value = next((part for part in value.operands if part is not plain), plain)
        offset = number(plain)
    if value.op == "cast":
        value = value.operands[0]
    norm.weight_cast = any(part.op == "cast" for part in (other, *other.operands))
    if value.op not in ("self", "input", "attr") or not _WEIGHT.search(str(value.attrs[0])):
        return False
    norm.weight, norm.offset = value, offset
    if other is not value:
        _consume_between(norm, other, value)
    return True


def _consume_between(norm: RmsNorm, other: Value, value: Value) -> None:
    stack = [other]
    while stack:
        at = stack.pop()
        if at is not value and at.op in ("cast", "add"):
            norm.consumed[at.id] = at
            stack.extend(at.operands)


def _fits(norm: RmsNorm, cast: Value) -> bool:
    """Whether a cast gives the dtype of x (or of the weight)."""
    if len(cast.operands) < 2 or cast.operands[1].op != "dtype":
        return False
    owner = cast.operands[1].operands[0]
    return narrow(owner) is norm.x or owner is norm.weight or owner.op == "self"


def _consume_casts(graph: Graph, norm: RmsNorm) -> None:
    """Upcasts of x that nothing else uses go with the norm."""
    inner = [operand for v in norm.consumed.values() for operand in v.operands]
    for cast in inner:
        while cast.op == "cast" and cast is not norm.x and narrow(cast) is norm.x:
            users = [use.user for use in graph.uses(cast)]
            if any(user is None or user.id not in norm.consumed for user in users):
                break
            norm.consumed[cast.id] = cast
            cast = cast.operands[0]


def _close(graph: Graph, norm: RmsNorm) -> None:
    _consume_casts(graph, norm)
    for value in list(norm.consumed.values()):
        if value is norm.result:
            continue
        for use in graph.uses(value):
            if use.user is not None and use.user.id in norm.consumed:
                continue
            if use.user is not None and use.user.op in META:
                norm.reads.append(use)
            else:
                norm.used = True
    if norm.upcast or norm.back is not None:
        norm.cast = "llama" if norm.rounded else "late"
