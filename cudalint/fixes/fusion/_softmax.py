"""A softmax by hand as a call, whether or not it takes the maximum off itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.softmaxes import HandSoftmax
from cudalint.facts.graph.render import Renderer
from cudalint.fixes.fusion._kernels import kernel
from cudalint.fixes.fusion._plan import planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts


def planned_softmax(finding: Finding, facts: PythonFacts, helpers: bool = False) -> Plan | Refusal:
    """The plan that writes `softmax(x, dim=…)` in the place of the division."""
    found: HandSoftmax = finding.captures["softmax"]
    target = kernel(facts, "softmax", ("torch", "softmax"))
    assert target is not None  # torch has one
    reason = _misfit(found)
    if reason is not None:
        return Refusal(reason)

    def spell(render: Renderer) -> str:
        given = [render.text(found.x), f"dim={_dim_text(found, render)}"]
        return call(facts, render.expression, target.spelling, given)

    return planned(
        finding,
        facts,
        target,
        found.result,
        found.consumed,
        found.reads,
        spell,
        lambda: _dim(found) is not None,
        helpers=helpers,
    )


def _misfit(found: HandSoftmax) -> str | None:
    if found.used:
        return "an intermediate value is used elsewhere"
    if not found.plain:
        return "a mask or a cast stands between the exponential and the division"
    if not found.exact:
        return "something is added to the sum"
    if _dim(found) is None and not _is_unknown(found.dims):
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


def _is_unknown(dims: object) -> bool:
    """Whether the dim is a value that the graph holds: a parameter, which is a number usually."""
    return isinstance(dims, tuple) and dims[:1] == ("?",)


def _dim_text(found: HandSoftmax, render: Renderer) -> str:
    if not _is_unknown(found.dims):
        return str(_dim(found))
    assert isinstance(found.dims, tuple)
    return render.text(render.graph.values[found.dims[1]])


def _aligns(found: HandSoftmax) -> bool:
    """Whether a sum without its dim still divides row by row: the first dim, or the only one."""
    rank = found.exp.rank
    if found.dims is None:
        return rank == 1
    return _dim(found) == 0 or (rank is not None and _dim(found) == -rank)
