"""Keeps sums, lists and looked-at values on the device, and casts them once."""

from __future__ import annotations

from cudalint.facts.postpone import postpone
from cudalint.facts.python import PythonFacts
from cudalint.fixes.sync.postponed import edits, title
from cudalint.model import Finding, Patch, Plan, Refusal


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove that nothing needs the number before the loop is over."""
    read = finding.captures["read"]
    cast = facts.code(read.children[0]) if read.type == "call" else ""
    if cast not in ("float", "int"):
        return Refusal("the value is rounded, tested or formatted every step")
    proof = postpone(facts, read, finding.captures["operand"], cast)
    if isinstance(proof, str):
        return Refusal(proof)
    return Plan("unsafe", title(proof), finding, facts, {"proof": proof})


def write(plan: Plan) -> Patch:
    """Keep the tensor where it was cast, and cast it where the number is used."""
    assert isinstance(plan.facts, PythonFacts)
    made, needs = edits(plan.data["proof"], plan.facts)
    return Patch(made, needs)
