"""Writes `torch.amp.GradScaler("cuda", …)` for `torch.cuda.amp.GradScaler(…)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.python import PythonFacts
from cudalint.facts.references import Reference
from cudalint.facts.respell import insert_after, insert_first, replace, torch_name
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from tree_sitter import Node

ROLES = {
    "value": "how the class that is passed on is called is not in sight",
    "decorator": "how the class that is passed on is called is not in sight",
    "import": "other files may import the name from this one",
}


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove that the class is constructed, tested for or annotated, arguments in sight."""
    reference: Reference = finding.captures["reference"]
    if reason := ROLES.get(reference.role):
        return Refusal(reason)
    if reference.role == "base" and not _keeps_signature(reference.holder, facts):
        return Refusal("the subclass may pass positional arguments to the base's constructor")
    if reference.role in ("call", "partial") and _device_given(reference, facts):
        return Refusal("it has an argument that the old interface does not take")
    spelling = torch_name(facts, reference.node, "torch.amp.GradScaler")
    if spelling is None:
        return Refusal("a local name hides `torch`")
    title = f"Replace with `{spelling.text}`"
    return Plan("safe", title, finding, facts, {"spelling": spelling})


def write(plan: Plan) -> Patch:
    """Rename, and name the device first where the class is called."""
    reference: Reference = plan.finding.captures["reference"]
    spelling = plan.data["spelling"]
    edits = [replace(reference.node, spelling.text)]
    if reference.role == "partial":
        edits.append(insert_after(reference.node, '"cuda"'))
    elif reference.role == "call" and reference.holder is not None:
        arguments = reference.holder.child_by_field_name("arguments")
        assert arguments is not None
        edits.append(insert_first(arguments, '"cuda"'))
    return Patch(tuple(edits), spelling.needs, spelling.may_free)


def _device_given(reference: Reference, facts: PythonFacts) -> bool:
    return reference.holder is not None and (
        "device" in facts.names.arguments(reference.holder).keywords
    )


def _keeps_signature(holder: Node | None, facts: PythonFacts) -> bool:
    """Whether a subclass has a constructor of its own that names what it hands on."""
    constructor = facts.names.method(holder, "__init__") if holder is not None else None
    if constructor is None:
        return False
    calls = [
        call
        for call in facts.calls("__init__")
        if constructor.start_byte <= call.start_byte < constructor.end_byte
    ]
    return bool(calls) and all(_is_plain_super(call, facts) for call in calls)


def _is_plain_super(call: Node, facts: PythonFacts) -> bool:
    """`super().__init__(name=value, **more)`: nothing by position."""
    given = call.child_by_field_name("arguments")
    function = call.child_by_field_name("function")
    if given is None or function is None or not facts.code(function).startswith("super("):
        return False
    named = ("keyword_argument", "dictionary_splat", "comment")
    return all(child.type in named for child in given.named_children)
