"""Writes `log_softmax` or `cross_entropy` for what computes them in several steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.log_softmaxes import Found
from cudalint.facts.graph.unfit import Unfit
from cudalint.fixes.fusion import _float_copies
from cudalint.fixes.fusion._kernels import Kernel, kernel, of_torch
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.graph.render import Renderer
    from cudalint.facts.graph.values import Value
    from cudalint.facts.python import PythonFacts

_FUNCTIONAL = "torch.nn.functional"


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found: Found = finding.captures["found"]
    reason = _misfit(found)
    if reason:
        return Refusal(reason)
    if found.form == "copy":
        return _float_copies.plan(finding, facts, found)
    if found.form == "log":
        target = kernel(facts, "log_softmax", (_FUNCTIONAL, "log_softmax"))
        assert target is not None  # torch has one
        return _planned(finding, facts, found, target)
    ours = _ours(facts, found)
    made = _planned(finding, facts, found, ours) if ours is not None else None
    if isinstance(made, Plan) or (made is not None and found.promoted):
        return made
    if found.form == "one-hot" and found.logits.rank != 2:
        return Refusal("the classes may not stand in the second of two dims")
    spelling, need = of_torch(facts, _FUNCTIONAL, "cross_entropy")
    return _planned(finding, facts, found, Kernel(spelling, need, "torch", True))


def write(plan: Plan) -> Patch:
    found: Found = plan.finding.captures["found"]
    return _float_copies.write(plan) if found.form == "copy" else patched(plan)


def _misfit(found: Found) -> str:
    if found.inexact:
        return found.inexact
    if found.used:
        return "the probabilities are used elsewhere"
    if found.dim is None:
        return "the dim of the softmax is not one known dim"
    return found.loss.unread if found.loss is not None else ""


def _ours(facts: PythonFacts, found: Found) -> Kernel | None:
    """Our function returns float32: it stands where the loss is float32 already."""
    rows = found.logits.rank == 2 or (found.loss is not None and found.loss.of_rows)
    wide = found.form == "nll" and _is_wide(found.logits) and rows
    return kernel(facts, "cross_entropy") if wide or found.promoted else None


def _is_wide(value: Value) -> bool:
    return value.op == "cast" and value.attrs == ("float32",)


def _planned(finding: Finding, facts: PythonFacts, found: Found, target: Kernel) -> Plan | Refusal:
    return planned(
        finding,
        facts,
        target,
        found.result,
        found.consumed,
        found.reads,
        lambda render: _call(target, found, render),
        lambda: not found.module and _is_proven(found),
    )


def _is_proven(found: Found) -> bool:
    """Whether the dim of the softmax is the loss's: the last one is, of two."""
    rows = found.loss is not None and found.loss.of_rows
    return found.form != "nll" or found.dim == 1 or found.logits.rank is not None or rows


def _call(target: Kernel, found: Found, render: Renderer) -> str:
    facts, node = render.facts, render.expression
    if found.form == "log":
        given = [render.text(found.logits), f"dim={found.dim}"]
        return call(facts, node, target.spelling, given)
    if found.target is None:
        raise Unfit("the classes are not in sight")
    wide = _is_wide(found.logits) and target.source != "torch" and not found.promoted
    logits = render.text(found.logits.operands[0] if wide else found.logits)
    if found.promoted and target.source == "torch":
        logits = f"{render.atom(found.logits)}.float()"
    given = [logits, render.text(found.target)]
    if found.loss is not None:
        given += found.loss.texts(render)
    elif found.reduction != "mean":
        given.append(f'reduction="{found.reduction}"')
    return call(facts, node, target.spelling, given)
