"""Writes torch's `gelu` in the form that stands there, or its `silu`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.activations import Activation
from cudalint.fixes.fusion._kernels import Kernel, of_torch
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.graph.render import Renderer
    from cudalint.facts.python import PythonFacts


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found: Activation = finding.captures["activation"]
    if found.kind == "quick":
        return Refusal("torch has no function for this approximation, and `F.gelu` gives others")
    if found.used:
        return Refusal("an intermediate value is used elsewhere")
    spelling, need = of_torch(
        facts, "torch.nn.functional", "silu" if found.kind == "silu" else "gelu"
    )
    target = Kernel(spelling, need, "torch", True)

    def spell(render: Renderer) -> str:
        given = [render.text(found.x)]
        given += ['approximate="tanh"'] if found.kind == "tanh" else []
        return call(facts, render.expression, target.spelling, given)

    return planned(
        finding,
        facts,
        target,
        found.result,
        found.consumed,
        found.reads,
        spell,
        lambda: found.exact and not any(value.module for value in found.consumed.values()),
        helpers=True,
    )


def write(plan: Plan) -> Patch:
    return patched(plan)
