"""Adds `need_weights=False` to a call whose weights nothing reads."""

from __future__ import annotations

from cudalint.facts.graph.patterns.attention_modules import ModuleCall
from cudalint.facts.python import PythonFacts
from cudalint.facts.respell import with_argument
from cudalint.model import Finding, Patch, Plan, Refusal, Safety


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    call: ModuleCall = finding.captures["call"]
    safety: Safety = "unsafe" if call.dropout else "safe"
    return Plan(safety, "Pass `need_weights=False`", finding, facts)


def write(plan: Plan) -> Patch:
    call: ModuleCall = plan.finding.captures["call"]
    return Patch((with_argument(call.node, None, "need_weights", "False"),))
