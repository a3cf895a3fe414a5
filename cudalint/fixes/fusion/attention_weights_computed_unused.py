"""Adds `need_weights=False` to a call whose weights nothing reads."""

from __future__ import annotations

from cudalint.facts.graph.patterns.attention_modules import ModuleCall
from cudalint.facts.python import PythonFacts
from cudalint.facts.respell import insert_last
from cudalint.model import Finding, Patch, Plan, Refusal, Safety


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    call: ModuleCall = finding.captures["call"]
    safety: Safety = "unsafe" if call.dropout else "safe"
    return Plan(safety, "Pass `need_weights=False`", finding, facts)


def write(plan: Plan) -> Patch:
    call: ModuleCall = plan.finding.captures["call"]
    arguments = call.node.child_by_field_name("arguments")
    assert isinstance(plan.facts, PythonFacts) and arguments is not None
    return Patch((insert_last(arguments, "need_weights=False"),))
