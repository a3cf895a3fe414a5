"""Chains of element-wise operations on one tensor, each the only use of the one before."""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.pool import is_const, is_number, is_scalar
from cudalint.facts.graph.tables import UNARY, words
from cudalint.facts.graph.values import Graph, Value

POINTWISE = UNARY | words(
    "add mul pow gelu maximum minimum clamp where masked_fill torch.lerp torch.addcmul torch.clamp"
)
# A chain around one of these is a norm, a softmax or an activation written out: other rules say so.
_OTHERS = words(
    """mean sum amax amin var std norm max min logsumexp softmax log_softmax erf cumsum
    torch.var_mean torch.std_mean"""
)


def chains(graph: Graph, least: int) -> Iterator[list[Value]]:
    """The longest chains with at least so many operations that the source writes."""
    inner: set[int] = set()
    for value in reversed(graph.values):
        if value.id in inner or not _is_step(value):
            continue
        chain = _down(graph, value)
        inner.update(step.id for step in chain)
        written = [step for step in chain if step.node is not None]
        if len(written) >= least and not any(_is_of_others(step) for step in chain):
            yield written[::-1]


def _is_step(value: Value) -> bool:
    if value.op not in POINTWISE or value.module or is_scalar(value):
        return False
    return not _is_small(value)


def _is_small(value: Value, depth: int = 6) -> bool:
    """Whether a value is made of parameters, numbers and tables of positions alone."""
    if value.op in ("self", "const", "global", "size", "torch.arange", "torch.linspace"):
        return True
    if depth == 0 or not value.operands or value.op in ("call", "linear", "module", "matmul"):
        return False
    return all(_is_small(part, depth - 1) for part in value.operands)


def _down(graph: Graph, top: Value) -> list[Value]:
    """From the result down the operand that is a step itself and used nowhere else."""
    found, at = [top], top
    while True:
        below = [part for part in at.operands if _is_step(part) and _is_only_used(graph, part, at)]
        same = [part for part in below if part.body == top.body]
        if len(same) != 1:
            return found
        at = same[0]
        found.append(at)


def _is_only_used(graph: Graph, value: Value, user: Value) -> bool:
    return not value.shared and all(use.user is user for use in graph.uses(value))


def _is_of_others(step: Value) -> bool:
    """A part of a GELU or a norm, or arithmetic with a statistic."""
    if step.op == "erf" or (step.op == "pow" and step.attrs == (-0.5,)):
        return True
    if any(is_const(part, 0.044715) for part in step.operands):
        return True
    return any(_reduces(part) for part in step.operands)


def _reduces(value: Value, depth: int = 4) -> bool:
    """Whether a value is a statistic of a tensor, through arithmetic with numbers."""
    if value.op in _OTHERS:
        return True
    inner = [part for part in value.operands if not is_number(part)]
    small = value.op in ("pow", "mul", "add", "cast", "clamp", "unsqueeze", "exp", "log")
    return small and depth > 0 and any(_reduces(part, depth - 1) for part in inner)
