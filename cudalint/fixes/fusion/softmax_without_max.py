"""Writes `softmax(x, dim=…)` for an exponential over its sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.softmaxes import HandSoftmax
from cudalint.facts.graph.render import Renderer
from cudalint.fixes.fusion._kernels import kernel
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found: HandSoftmax = finding.captures["softmax"]
    target = kernel(facts, "softmax", ("torch", "softmax"))
    assert target is not None  # torch has one
    reason = _misfit(found)
    if reason is not None:
        return Refusal(reason)
    dim = _dim(found)

    def spell(render: Renderer) -> str:
        x = render.text(found.exp.operands[0])
        return call(facts, render.expression, target.spelling, [x, f"dim={dim}"])

    return planned(
        finding, facts, target, found.result, found.consumed, found.reads, spell, lambda: True
    )


def write(plan: Plan) -> Patch:
    return patched(plan)


def _misfit(found: HandSoftmax) -> str | None:
    if found.used:
        return "an intermediate value is used elsewhere"
    if not found.plain:
        return "a mask or a cast stands between the exponential and the division"
    if not found.exact:
        return "something is added to the sum"
    if _dim(found) is None:
        return "the dim of the sum is not one known dim"
    if not found.keepdim and not _aligns(found):
        return "the sum drops its dim"
    return None


def _dim(found: HandSoftmax) -> int | None:
    dims = found.dims
    if dims is None and found.exp.rank == 1:
        return -1
    if isinstance(dims, tuple) and len(dims) == 1 and isinstance(dims[0], int):
        return dims[0]
    return None


def _aligns(found: HandSoftmax) -> bool:
    """Whether a sum without its dim still divides row by row: the first dim, or the only one."""
    rank = found.exp.rank
    if found.dims is None:
        return rank == 1
    return _dim(found) == 0 or (rank is not None and _dim(found) == -rank)
