"""Adaptive norms: a norm times `1 + scale` plus a shift that the input of the model decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from cudalint.facts.graph.patterns.norm_calls import Norm, norms_of
from cudalint.facts.graph.patterns.norm_parts import narrow
from cudalint.facts.graph.patterns.others import others
from cudalint.facts.graph.pool import is_number, is_scalar, number
from cudalint.facts.graph.values import META, Graph, Use, Value
from cudalint.lazy import lazy_compile
from cudalint.records import field, record

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts

_VIEWS = frozenset({"unsqueeze", "view", "expand", "index", "cast", "squeeze", "to_device"})
_SHIFT = lazy_compile(r"shift|beta|bias")


@record(eq=False)
class AdaptiveNorm:
    """`result = norm · (offset + scale) + shift`; `x` is what is normalized.

    `factor` is what the norm is multiplied with, down to the sum `1 + scale`: views may stand
    above it. `dtype`: the value whose dtype the result is cast to, or float32.
    """

    result: Value
    norm: Norm
    x: Value
    scale: Value
    shift: Value
    offset: float
    factor: tuple[Value, ...]
    dtype: Value | Literal["float32"] | None = None
    why: str | None = None
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)


def adaptive_norms(facts: PythonFacts, graph: Graph) -> Iterator[AdaptiveNorm]:
    """The adaptive norms of a graph."""
    for norm in norms_of(facts, graph):
        for casts, product in _products(graph, norm.result):
            for use in graph.uses(product):
                found = _modulated(graph, norm, casts, product, use.user)
                if found is not None:
                    _take_casts(graph, found, casts)
                    _close(graph, found)
                    yield found
        for value in graph.of("torch.addcmul"):
            found = _addcmul(graph, norm, value)
            if found is not None:
                _take_casts(graph, found, [])
                _close(graph, found)
                yield found


def _products(graph: Graph, value: Value) -> Iterator[tuple[list[Value], Value]]:
    """The products with a norm's result, and the casts before each."""
    casts: list[Value] = []
    at: Value | None = value
    while at is not None and len(casts) < 3:
        users = [use.user for use in graph.uses(at) if use.user is not None]
        for user in users:
            if user.op == "mul":
                yield list(casts), user
        following = [user for user in users if user.op == "cast"]
        at = following[0] if len(following) == 1 else None
        casts += following[:1]


def _modulated(
    graph: Graph, norm: Norm, casts: list[Value], product: Value, result: Value | None
) -> AdaptiveNorm | None:
    at = casts[-1] if casts else norm.result
    if result is None or result.op != "add":
        return None
    factor = product.operands[1] if product.operands[0] is at else product.operands[0]
    shift = result.operands[1] if result.operands[0] is product else result.operands[0]
    return _found(norm, (*casts, product, result), factor, shift)


def _addcmul(graph: Graph, norm: Norm, value: Value) -> AdaptiveNorm | None:
    """`torch.addcmul(shift, norm, 1 + scale)`."""
    if value.attrs or len(value.operands) != 3 or norm.result not in value.operands[1:]:
        return None
    shift, one, two = value.operands
    return _found(norm, (value,), two if one is norm.result else one, shift)


def _found(
    norm: Norm, steps: tuple[Value, ...], factor: Value, shift: Value
) -> AdaptiveNorm | None:
    """The adaptive norm, if `factor` is `1 + scale` and the shift is the scale's companion."""
    result, made = steps[-1], [factor]
    while factor.op in ("unsqueeze", "index"):
        factor = factor.operands[0]
        made.append(factor)
    if factor.op != "add":
        return None
    for plain, scale in (factor.operands, factor.operands[::-1]):
        if is_number(plain) and number(plain) == 1 and _are_companions(scale, shift, result):
            parts = (scale, shift, number(plain), tuple(made))
            found = AdaptiveNorm(result, norm, norm.x, *parts, why=norm.why)
            values = (*norm.consumed.values(), *steps, *made)
            found.consumed = {value.id: value for value in values}
            found.reads = list(norm.reads)
            return found
    return None


def _are_companions(scale: Value, shift: Value, result: Value) -> bool:
    """Whether scale and shift are made together, or are called so; parameters are an affine."""
    one, two = root_of(scale), root_of(shift)
    if any(is_number(root) or is_scalar(root) for root in (one, two)):
        return False
    if one.op == "self" and two.op == "self":
        return False
    text = result.node.text if result.node is not None else None
    return one is two or (text is not None and bool(_SHIFT.search(text.decode("utf-8", "replace"))))


def root_of(value: Value) -> Value:
    """What a part is taken of: the chunk, the tuple, the projection."""
    while value.op in _VIEWS:
        value = value.operands[0]
    return value


def _take_casts(graph: Graph, found: AdaptiveNorm, casts: list[Value]) -> None:
    """`norm(x.float())`, cast back before the product or after the sum: x as it was."""
    x, back = narrow(found.x), _cast_of(graph, found.result)
    stays = found.norm.hand is not None and _stays_wide(found.norm)
    wide = stays or x is not found.x
    if casts and wide and _gives_dtype_of(casts[-1], x):
        _consume_upcast(graph, found)
        found.x = x
    elif casts and not wide and all(cast.attrs == ("float32",) for cast in casts):
        found.dtype = "float32"
        if back is not None and any(_gives_dtype_of(back, v) for v in (x, found.norm.result)):
            _end_at(found, back, x)
    elif casts:
        found.why = found.why or "a cast stands between the norm and its scale"
    elif wide and back is not None and _gives_dtype_of(back, x):
        _consume_upcast(graph, found)
        _end_at(found, back, x)
    elif stays:
        found.why = found.why or "the result stays in float32"


def _end_at(found: AdaptiveNorm, back: Value, x: Value) -> None:
    found.result, found.x, found.dtype = back, x, x
    found.consumed[back.id] = back


def _consume_upcast(graph: Graph, found: AdaptiveNorm) -> None:
    """`x.float()` goes with the norm where nothing else uses it."""
    at = found.x
    while at.op == "cast" and narrow(at) is not at:
        if any(u.user is None or u.user.id not in found.consumed for u in graph.uses(at)):
            return
        found.consumed[at.id] = at
        at = at.operands[0]


def _stays_wide(norm: Norm) -> bool:
    return norm.hand is not None and norm.hand.upcast and norm.hand.back is None


def _cast_of(graph: Graph, value: Value) -> Value | None:
    users = [use.user for use in graph.uses(value) if use.user is None or use.user.op not in META]
    user = users[0] if len(users) == 1 else None
    return user if user is not None and user.op == "cast" else None


def _gives_dtype_of(cast: Value, x: Value) -> bool:
    if len(cast.operands) != 2 or cast.operands[1].op != "dtype":
        return False
    return narrow(cast.operands[1].operands[0]) is x


def _close(graph: Graph, found: AdaptiveNorm) -> None:
    """Find what else uses a value that it consumes; the factor may be used by others as well."""
    _drop_shared(graph, found)
    reads, used = others(graph, found.result, found.consumed)
    found.reads += reads
    if used:
        found.why = found.why or "an intermediate value is used elsewhere"


def _drop_shared(graph: Graph, found: AdaptiveNorm) -> None:
    """`1 + scale` that something else needs too is not consumed, and stays."""
    for at, value in enumerate(found.factor):
        users = [use.user for use in graph.uses(value)]
        if any(user is None or user.id not in found.consumed for user in users):
            for kept in found.factor[at:]:
                found.consumed.pop(kept.id, None)
            return
