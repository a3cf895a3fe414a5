"""The steps of a norm by hand above its inverse root: the product with x, the affine, the casts."""

from __future__ import annotations

import re

from cudalint.facts.graph.patterns.norm_parts import HandNorm, centre_parts, narrow
from cudalint.facts.graph.patterns.others import others
from cudalint.facts.graph.pool import is_number, number
from cudalint.facts.graph.values import META, Graph, Value
from cudalint.lazy import lazy_compile

_WEIGHT = lazy_compile(r"weight|gamma|gain|scale|^g$|^w$|alpha|^a_?2$", re.IGNORECASE)
_BIAS = lazy_compile(r"bias|beta|^b$|shift|offset|^b_?2$", re.IGNORECASE)


def climb(graph: Graph, norm: HandNorm) -> bool:
    """From the inverse root up through the product with x, the affine and the casts.

    False where nothing is multiplied with x.
    """
    root = at = norm.result
    met = False
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
    return norm.result is not root


def _step(norm: HandNorm, at: Value, users: list[Value], met: bool) -> tuple[Value, bool] | None:
    """One operation further up; None where the norm ends."""
    if len(users) > 1 and met:
        return _joined(norm, at, users)
    products = [user for user in users if user.op == "mul" and norm.takes(_other(at, user))]
    if len(users) > 1 and len(products) != 1:
        return None
    user = products[0] if products else users[0]
    if user.op == "mul" and not met and _take_x(norm, _other(at, user)):
        return user, True
    if user.op == "mul":
        other = _other(at, user)
        plain = norm.weight is None and norm.bias is None and not _is_adaptive(other, user)
        return (user, met) if plain and _take_weight(norm, other) else None
    if user.op == "add" and met and norm.centred and norm.bias is None:
        return (user, True) if _take_bias(norm, _other(at, user)) else None
    if user.op == "cast" and met and norm.back is None and _fits(norm, user):
        norm.back = user
        norm.rounded = norm.weight is None and norm.bias is None
        return user, True
    return None


def _other(at: Value, user: Value) -> Value:
    return user.operands[1] if user.operands[0] is at else user.operands[0]


def _take_x(norm: HandNorm, other: Value) -> bool:
    """Whether a factor is x (of a layer norm: with its mean taken off), or that times the weight."""
    if norm.takes(other):
        norm.upcast = norm.upcast or narrow(other) is not other
        if norm.centred:
            inner = centre_parts(narrow(other))
            norm.consumed.update({value.id: value for value in inner})
            norm.upcast = norm.upcast or any(narrow(v) is not v for v in _read(inner))
        return True
    if other.op != "mul" or norm.weight is not None or len(other.uses) != 1:
        return False
    for x, weight in (other.operands, other.operands[::-1]):
        if norm.takes(x) and not is_number(weight) and _take_weight(norm, weight):
            norm.consumed[other.id] = other
            return _take_x(norm, x)
    return False


def _read(values: tuple[Value, ...]) -> list[Value]:
    return [operand for value in values for operand in value.operands]


def _is_adaptive(factor: Value, product: Value) -> bool:
    """Whether `1 + scale` comes from outside of the module and a shift follows: no weight."""
    if factor.op != "add" or any(part.op == "self" for part in factor.operands):
        return False
    return any(use.user is not None and use.user.op == "add" for use in product.uses)


def _joined(norm: HandNorm, at: Value, users: list[Value]) -> tuple[Value, bool] | None:
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
        if not _take_weight(norm, _other(at, made)):
            return None
        norm.optional = (join.operands[0], wanted)
    else:
        return None
    norm.consumed[made.id] = made
    return join, True


def _take_weight(norm: HandNorm, other: Value) -> bool:
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
    if not _is_parameter(value, _WEIGHT):
        return False
    norm.weight, norm.offset = value, offset
    if other is not value:
        _consume_between(norm, other, value)
    return True


def _take_bias(norm: HandNorm, other: Value) -> bool:
    value = other.operands[0] if other.op == "cast" else other
    if not _is_parameter(value, _BIAS):
        return False
    norm.bias = value
    if other is not value:
        norm.weight_cast = True
        norm.consumed[other.id] = other
    return True


def _is_parameter(value: Value, called: re.Pattern[str]) -> bool:
    named = value.op in ("self", "input", "attr")
    return named and called.search(str(value.attrs[0])) is not None


def _consume_between(norm: HandNorm, other: Value, value: Value) -> None:
    stack = [other]
    while stack:
        at = stack.pop()
        if at is not value and at.op in ("cast", "add"):
            norm.consumed[at.id] = at
            stack.extend(at.operands)


def _fits(norm: HandNorm, cast: Value) -> bool:
    """Whether a cast gives the dtype of x (or of the weight)."""
    if len(cast.operands) < 2 or cast.operands[1].op != "dtype":
        return False
    owner = cast.operands[1].operands[0]
    return narrow(owner) is norm.x or owner is norm.weight or owner.op == "self"


def _consume_casts(graph: Graph, norm: HandNorm) -> None:
    """Upcasts of x that nothing else uses go with the norm."""
    inner = [operand for v in norm.consumed.values() for operand in v.operands]
    for cast in inner:
        while cast.op == "cast" and cast is not norm.x and narrow(cast) is norm.x:
            users = [use.user for use in graph.uses(cast)]
            if any(user is None or user.id not in norm.consumed for user in users):
                break
            norm.consumed[cast.id] = cast
            cast = cast.operands[0]


def close(graph: Graph, norm: HandNorm) -> None:
    """Find what else uses or reads the values that the norm consumes, and its order of casts."""
    _consume_casts(graph, norm)
    norm.reads, norm.used = others(graph, norm.result, norm.consumed)
    if norm.upcast or norm.back is not None:
        norm.cast = "llama" if norm.rounded else "late"
