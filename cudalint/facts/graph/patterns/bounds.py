"""Bounds: whether a value is bounded from above by how it was made."""

from __future__ import annotations

import re

from cudalint.facts.graph.pool import is_const, is_number, is_scalar, number
from cudalint.facts.graph.tables import words
from cudalint.facts.graph.values import Value
from cudalint.lazy import lazy_compile

# The running value is operand 0 and its order of magnitude stays.
_KEEPING = words(
    """cast view permute transpose expand unsqueeze squeeze index to_device detach masked_fill
    einops.rearrange einops.repeat torch.flatten torch.nan_to_num"""
)
_BOUNDED = words(
    """tanh sigmoid cos sin erf softmax log_softmax logsigmoid torch.normalize hardtanh relu6
    torch.cosine_similarity log amax logsumexp"""
)
_POSITIVE = words(
    """abs exp norm torch.cdist torch.pairwise_distance relu softplus size len finfo var std
    sigmoid softmax amax_abs torch.dist rank"""
)
_NORMALISED = lazy_compile(r"cos_?sim|cosine|normali[sz]e|l2norm|log_?prob|logp|log_?softmax", re.I)
_MAXIMA = frozenset({"amax", "maximum", "logsumexp", "torch.cummax"})


def is_bounded(value: Value, depth: int = 24) -> bool:
    """Whether a value is bounded from above by how it was made, or had its maximum taken off."""
    if depth == 0:
        return False
    op, operands = value.op, value.operands
    if op in _BOUNDED or is_number(value) or is_scalar(value):
        return True
    if op in _KEEPING:
        return is_bounded(operands[0], depth - 1)
    if op == "phi":
        return all(is_bounded(part, depth - 1) for part in operands[1:])
    if op == "where":
        return all(is_bounded(part, depth - 1) for part in operands[1:])
    if op == "clamp":
        return not is_const(operands[2], None)
    if op in ("minimum", "min"):
        return any(is_bounded(part, depth - 1) for part in operands)
    if op == "add":
        return _is_shifted(value) or all(is_bounded(part, depth - 1) for part in operands)
    if op == "mul":
        return _is_bounded_product(value, depth)
    if op == "matmul":
        return all(_is_unit(operand) for operand in operands)
    if op in ("sum", "mean"):
        return is_nonpositive(operands[0], depth - 1) or _is_cosine(operands[0])
    if op in ("call", "unknown", "module", "self", "input", "attr"):
        return _NORMALISED.search(called(value)) is not None
    return False


def _is_shifted(value: Value) -> bool:
    """`x - max(x)`, in any of its spellings: something that holds a maximum is taken off."""
    for part in value.operands:
        taken = part.op == "mul" and any(is_const(factor, -1) for factor in part.operands)
        if taken and _holds_maximum(part):
            return True
    return False


def _is_shift(value: Value) -> bool:
    """`x - max(x)` before a factor, which may be a tensor: somebody took the maximum off."""
    return value.op == "add" and _is_shifted(value)


def _holds_maximum(value: Value) -> bool:
    stack, budget = [value], 40
    while stack and budget:
        at = stack.pop()
        budget -= 1
        if at.op in _MAXIMA or (at.op in ("call", "unknown") and "max" in called(at).lower()):
            return True
        if at.op in ("input", "self") and "max" in str(at.attrs[0]).lower():
            return True
        stack.extend(at.operands)
    return False


def _is_bounded_product(value: Value, depth: int) -> bool:
    if is_nonpositive(value, depth) or any(_is_shift(part) for part in value.operands):
        return True
    for part, factor in (value.operands, value.operands[::-1]):
        if is_bounded(part, depth - 1) and not is_number(part) and _is_factor(factor):
            return True
    return False


def _is_factor(value: Value) -> bool:
    """A scale or a temperature: a number, a parameter, a power of one."""
    while value.op in ("pow", "exp", "cast", "to_device", "number") and value.operands:
        value = value.operands[0]
    return is_scalar(value) or value.op in ("self", "input", "attr", "const", "global", "clamp")


def is_nonpositive(value: Value, depth: int = 24) -> bool:
    """`-x²`, `-|x|`, `-dist / (2 * sigma²)`: at most zero."""
    if depth == 0:
        return False
    op, operands = value.op, value.operands
    if is_number(value):
        return number(value) <= 0
    if op in ("log_softmax", "logsigmoid"):
        return True
    if op in _KEEPING or op in ("sum", "mean"):
        return is_nonpositive(operands[0], depth - 1)
    if op == "mul":
        return any(
            is_nonpositive(a, depth - 1) and _is_nonnegative(b, depth - 1)
            for a, b in (operands, operands[::-1])
        )
    if op == "add":
        return all(is_nonpositive(part, depth - 1) for part in operands)
    return False


def _is_nonnegative(value: Value, depth: int) -> bool:
    if depth == 0:
        return False
    op, operands = value.op, value.operands
    if is_number(value):
        return number(value) >= 0
    if op in _POSITIVE:
        return True
    if op == "pow" and len(operands) == 1:
        exponent = value.attrs[0]
        even = exponent % 2 == 0 or exponent in (0.5, -0.5)
        return even or _is_nonnegative(operands[0], depth - 1) or _is_width(operands[0])
    if op in _KEEPING or op in ("sum", "mean", "sqrt"):
        return _is_nonnegative(operands[0], depth - 1)
    if op in ("mul", "add"):
        return all(_is_nonnegative(part, depth - 1) for part in operands)
    if op == "clamp":
        return is_number(operands[1]) and number(operands[1]) >= 0
    return _is_width(value) or re.search(r"dist|energy|cost", called(value), re.I) is not None


def _is_width(value: Value) -> bool:
    """A parameter that is called like a width or a temperature is positive."""
    name = called(value)
    return re.search(r"sigma|temp|tau|gamma|beta|scale|bandwidth|eps|var", name, re.I) is not None


def _is_unit(value: Value) -> bool:
    """A value whose rows have length one."""
    while value.op in ("permute", "transpose", "cast", "view", "unsqueeze", "detach", "index"):
        value = value.operands[0]
    if value.op == "torch.normalize" or _NORMALISED.search(called(value)):
        return True
    return value.op == "mul" and any(
        part.op == "pow" and part.attrs == (-1,) and _is_length(part.operands[0])
        for part in value.operands
    )


def _is_length(value: Value) -> bool:
    while value.op in ("add", "clamp", "maximum", "unsqueeze", "index", "expand"):
        value = value.operands[0]
    return value.op == "norm"


def _is_cosine(value: Value) -> bool:
    return value.op == "mul" and all(_is_unit(part) for part in value.operands)


def called(value: Value) -> str:
    """What an attribute, an argument or a called function is called in the source."""
    if value.op in ("self", "input", "attr", "global"):
        return str(value.attrs[0])
    node = value.node
    function = node.child_by_field_name("function") if node is not None else None
    text = function.text if function is not None else None
    return text.decode("utf-8", "replace") if text is not None else ""
