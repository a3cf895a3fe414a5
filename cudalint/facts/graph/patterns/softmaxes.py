"""Softmax by hand: an exponential over the sum of the same exponential."""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.bounds import called, is_bounded
from cudalint.facts.graph.patterns.others import others
from cudalint.facts.graph.pool import is_const, is_number, is_scalar, number
from cudalint.facts.graph.values import Graph, Use, Value
from cudalint.records import field, record

# What a denominator may pass through between its sum and the division.
_SHAPING = frozenset({"unsqueeze", "view", "expand", "index", "cast", "torch.expand_as"})


@record(eq=False)
class HandSoftmax:
    """`result = part / sum(part)`, with `exp` in `part`; `x` is what the softmax is taken of."""

    result: Value
    x: Value
    exp: Value
    part: Value
    sum: Value
    dims: object
    keepdim: bool
    plain: bool  # nothing but the exponential itself is summed and divided
    exact: bool  # nothing is added to the sum
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)
    used: bool = False


def unstable_softmaxes(graph: Graph) -> Iterator[HandSoftmax]:
    """The softmaxes by hand whose exponential can overflow."""
    for value in graph.of("mul"):
        found = hand_softmax(value)
        if found is not None and not is_bounded(found.exp.operands[0]):
            found.reads, found.used = others(graph, found.result, found.consumed)
            yield found


def stable_softmaxes(graph: Graph) -> Iterator[HandSoftmax]:
    """The softmaxes by hand that take the maximum off first, or the log of the sum."""
    for value in graph.of("mul"):
        found = hand_softmax(value)
        if found is not None and _take_off(found, "amax"):
            found.reads, found.used = others(graph, found.result, found.consumed)
            yield found
    for value in graph.of("exp"):
        inner = value.operands[0]
        found = HandSoftmax(value, inner, value, value, value, None, True, True, True)
        if _take_off(found, "logsumexp"):
            found.reads, found.used = others(graph, found.result, found.consumed)
            if not found.used:  # else the log-sum-exp itself is wanted
                yield found


def _take_off(found: HandSoftmax, op: str) -> bool:
    """Whether what is exponentiated is x less its maximum (or log-sum-exp) over the same dim."""
    shifted = _tempered(found.x)
    for x, other in (shifted.operands, shifted.operands[::-1]) if shifted.op == "add" else ():
        taken = next((p for p in other.operands if other.op == "mul" and not is_number(p)), None)
        if taken is None or not any(is_const(part, -1) for part in other.operands):
            continue
        passed = [taken]
        while passed[-1].op in ("unsqueeze", "index", "detach", "cast", "expand"):
            passed.append(passed[-1].operands[0])
        low = passed[-1]
        if low.op != op or _bare(low.operands[0]) is not _bare(x) or not _fits(found, low, passed):
            continue
        if shifted is not found.x:  # what is written keeps the difference and its factor
            found.consumed[found.exp.id] = found.exp
            return True
        found.x = x
        pairs = [u.user for u in low.uses if u.user and u.user.op == "pair" and not u.user.uses]
        found.consumed.update({v.id: v for v in (shifted, other, *passed, *pairs, found.exp)})
        return True
    return False


def _tempered(value: Value) -> Value:
    """What a number, or a setting of a module, multiplies: `exp(t * (x - x.max()))`."""
    for inner, factor in (value.operands, value.operands[::-1]) if value.op == "mul" else ():
        while factor.op == "pow" and factor.attrs == (-1,):
            factor = factor.operands[0]
        if inner.op == "add" and (is_scalar(factor) or factor.op in ("attr", "self")):
            return inner
    return value


def _fits(found: HandSoftmax, low: Value, passed: list[Value]) -> bool:
    """Whether the maximum is over the dim that is summed, and that dim kept or put back."""
    dims, keepdim = low.attrs[0], low.attrs[1]
    if found.sum is found.result:  # by log-sum-exp there is no sum
        found.dims = dims
    elif dims is None and not passed[1:]:
        return True  # of the whole tensor: no row has a larger one
    if dims is None or dims != found.dims:
        return False
    comes_back = dims == (0,)  # by broadcasting: the others stand where they stood
    return bool(keepdim) or comes_back or _restores(passed, dims)


def hand_softmax(value: Value) -> HandSoftmax | None:
    """A value as `part * (1 / sum(part))`."""
    for part, inverse in (value.operands, value.operands[::-1]):
        if inverse.op != "pow" or inverse.attrs != (-1,):
            continue
        below = _denominator(inverse.operands[0])
        if below is None:
            continue
        total, passed, exact = below
        exp = _exponential(part)
        if exp is None or _bare(total.operands[0]) is not _bare(part):
            continue
        x, (dims, keepdim) = exp.operands[0], total.attrs
        found = HandSoftmax(value, x, exp, part, total, dims, keepdim, part is exp, exact)
        found.consumed = {v.id: v for v in (value, inverse, *passed, total, part, exp)}
        found.keepdim = found.keepdim or _restores(passed, found.dims)
        return found
    return None


def _restores(passed: list[Value], dims: object) -> bool:
    """Whether a dim of one is put back where the sum dropped it."""
    if not isinstance(dims, tuple) or len(dims) != 1:
        return False
    for value in passed:
        if value.op == "unsqueeze":
            return bool(value.attrs[0] == dims[0])
        if value.op == "index":
            indices = value.operands[1:]
            after = dims == (-1,) and is_const(indices[-1], None)
            return after or dims == (_place(indices),)
    return False


def _place(indices: tuple[Value, ...]) -> int | None:
    """The dim that `x[:, None]` adds."""
    for at, index in enumerate(indices):
        if is_const(index, None):
            return at
        if index.op != "slice" or not all(is_const(part, None) for part in index.operands):
            return None
    return None


def _denominator(value: Value) -> tuple[Value, list[Value], bool] | None:
    """The sum under a denominator, what stands between, and whether nothing is added to it."""
    passed: list[Value] = []
    exact = True
    while value.op != "sum":
        passed.append(value)
        if value.op in _SHAPING:
            value = value.operands[0]
        elif value.op in ("add", "clamp", "maximum"):
            parts = [part for part in value.operands if not _is_small(part)]
            if len(parts) != 1:
                return None
            value, exact = parts[0], False
        else:
            return None
    return value, passed, exact


def _is_small(value: Value) -> bool:
    """An epsilon, or no bound at all."""
    if is_number(value):
        return abs(number(value)) < 1e-2
    named = value.op in ("self", "input", "attr") and "eps" in str(value.attrs[0]).lower()
    return named or value.op == "finfo" or is_const(value, None)


def _exponential(part: Value, depth: int = 4) -> Value | None:
    """The exponential in a numerator: itself, or with a mask multiplied in."""
    part = _bare(part)
    if part.op == "exp":
        return part
    if depth == 0:
        return None
    if part.op == "phi":
        arms = [_exponential(arm, depth - 1) for arm in part.operands[1:]]
        return arms[0] if arms[0] is arms[1] else None
    if part.op in ("masked_fill", "where"):
        found = [_bare(operand) for operand in part.operands if _bare(operand).op == "exp"]
        return found[0] if len(found) == 1 else None
    if part.op == "mul":
        for inner, mask in (part.operands, part.operands[::-1]):
            if _is_mask(mask):
                return _exponential(inner, depth - 1)
    return None


def _is_mask(value: Value) -> bool:
    while value.op in ("cast", "unsqueeze", "view", "index", "expand", "not", "to_device"):
        value = value.operands[0]
    if value.op in ("eq", "ne", "lt", "gt", "le", "ge", "and", "or", "torch.tril", "torch.triu"):
        return True
    return "mask" in called(value).lower()


def _bare(value: Value) -> Value:
    while value.op in ("cast", "to_device"):
        value = value.operands[0]
    return value
