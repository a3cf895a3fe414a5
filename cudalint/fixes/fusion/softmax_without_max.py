"""Writes `softmax(x, dim=…)` for an exponential over its sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.fixes.fusion._plan import patched
from cudalint.fixes.fusion._softmax import planned_softmax
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    return planned_softmax(finding, facts)


def write(plan: Plan) -> Patch:
    return patched(plan)
