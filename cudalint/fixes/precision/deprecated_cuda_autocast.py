"""Writes `torch.amp.autocast` with its device for `torch.cuda.amp.autocast` and its like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.python import PythonFacts
from cudalint.facts.references import Reference
from cudalint.facts.respell import insert_after, insert_before, insert_first, replace, torch_name
from cudalint.model import Edit, Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from tree_sitter import Node

POSITIONS = ("enabled", "dtype", "cache_enabled")
OTHER_DTYPES = {
    "cuda": (b"bfloat16", b"set_autocast"),
    "cpu": (b".float16", b"half", b"set_autocast"),
}
DEFAULTS = {"cuda": "float16", "cpu": "bfloat16"}
ROLES = {
    "value": "how the object that is passed on is called is not in sight",
    "base": "the constructor of a subclass would take the device first",
    "import": "other files may import the name from this one",
    "annotation": "an annotation alone changes nothing",
}


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove that the use is a call, a decorator or a test whose arguments are in sight."""
    reference: Reference = finding.captures["reference"]
    kind = reference.path.rpartition(".")[2]
    if reason := ROLES.get(reference.role):
        return Refusal(reason)
    if reference.role == "decorator" and kind == "autocast":
        return Refusal("a decorator without a call passes the function as `enabled`")
    if reason := _unclear(reference, kind, facts):
        return Refusal(reason)
    spelling = torch_name(facts, reference.node, f"torch.amp.{kind}")
    if spelling is None:
        return Refusal("a local name hides `torch`")
    title = f"Replace with `{spelling.text}`"
    return Plan("safe", title, finding, facts, {"spelling": spelling, "kind": kind})


def _unclear(reference: Reference, kind: str, facts: PythonFacts) -> str:
    if reference.role not in ("call", "partial") or reference.holder is None:
        return ""
    given = reference.holder.child_by_field_name("arguments")
    if given is None or any(child.type == "list_splat" for child in given.named_children):
        return "the positional arguments are not in sight"
    if given.type != "argument_list":
        return "a generator is passed as `enabled`"
    arguments = facts.names.arguments(reference.holder)
    allowed = POSITIONS if kind == "autocast" else ("fwd", "bwd", "cast_inputs")
    if not set(arguments.keywords) <= set(allowed):
        return "it has an argument that the old interface does not take"
    return ""


def write(plan: Plan) -> Patch:
    """Rename, name the device, and give positional arguments their keywords."""
    reference: Reference = plan.finding.captures["reference"]
    spelling, kind = plan.data["spelling"], plan.data["kind"]
    device = reference.path.split(".")[1]
    edits = [replace(reference.node, spelling.text)]
    if reference.role == "decorator":
        edits = [replace(reference.node, f'{spelling.text}(device_type="{device}")')]
    elif reference.holder is not None and reference.role in ("call", "partial"):
        given = _given(reference)
        if kind == "autocast":
            edits += _autocast_arguments(plan, reference.holder, given, device)
        else:
            edits.append(_device_keyword(reference, given, device))
    return Patch(tuple(edits), spelling.needs, spelling.may_free)


def _given(reference: Reference) -> list[Node]:
    """The arguments of the old call; a partial's own first argument is the callee."""
    holder = reference.holder.child_by_field_name("arguments") if reference.holder else None
    nodes = [child for child in holder.named_children if child.type != "comment"] if holder else []
    return nodes[1:] if reference.role == "partial" else nodes


def _autocast_arguments(plan: Plan, call: Node, given: list[Node], device: str) -> list[Edit]:
    named = ("keyword_argument", "dictionary_splat")
    positional = [node for node in given if node.type not in named]
    first = f'"{device}"'
    if dtype := _written_dtype(plan, call, positional, device):
        first += f", dtype={dtype}"
    labels = dict(zip(positional, POSITIONS, strict=False))
    reference: Reference = plan.finding.captures["reference"]
    arguments = call.child_by_field_name("arguments")
    assert arguments is not None
    if reference.role == "partial":
        edits = [insert_after(reference.node, first)]
    else:
        label = f"{labels.pop(given[0])}=" if given and given[0] in labels else ""
        edits = [insert_first(arguments, first, label)]
    return edits + [insert_before(node, f"{name}=") for node, name in labels.items()]


def _written_dtype(plan: Plan, call: Node, positional: list[Node], device: str) -> str:
    """The old default dtype, where the file names another one that may be current; else ""."""
    facts = plan.facts
    assert isinstance(facts, PythonFacts)
    arguments = facts.names.arguments(call)
    enabled = arguments.keywords.get("enabled") or (positional[0] if positional else None)
    if arguments.open or "dtype" in arguments.keywords or len(positional) > 1:
        return ""
    if enabled is not None and enabled.type == "false":
        return ""
    if not any(word in facts.text for word in OTHER_DTYPES[device]):
        return ""
    spelled = torch_name(facts, plan.finding.captures["reference"].node, "torch")
    return f"{spelled.text}.{DEFAULTS[device]}" if spelled is not None else ""


def _device_keyword(reference: Reference, given: list[Node], device: str) -> Edit:
    named = ("keyword_argument", "dictionary_splat")
    positional = [node for node in given if node.type not in named]
    keyword = f'device_type="{device}"'
    if reference.role == "partial":
        positional.insert(0, reference.node)
    if positional:
        return insert_after(positional[-1], keyword)
    arguments = reference.holder.child_by_field_name("arguments") if reference.holder else None
    assert arguments is not None
    return insert_first(arguments, keyword)
