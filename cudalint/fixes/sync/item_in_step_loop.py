"""Keeps sums, lists and looked-at values on the device, and reads them once."""

from __future__ import annotations

from cudalint.facts.postpone import postpone
from cudalint.facts.python import PythonFacts
from cudalint.fixes.sync.postponed import edits, title
from cudalint.model import Finding, Patch, Plan, Refusal


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove that nothing needs the number before the loop is over."""
    proof = postpone(facts, finding.captures["read"], finding.captures["operand"], "item")
    if isinstance(proof, str):
        return Refusal(proof)
    return Plan("unsafe", title(proof), finding, facts, {"proof": proof})


def write(plan: Plan) -> Patch:
    """Keep the tensor where the number was read, and read it where it is used."""
    assert isinstance(plan.facts, PythonFacts)
    made, needs = edits(plan.data["proof"], plan.facts)
    return Patch(made, needs)
