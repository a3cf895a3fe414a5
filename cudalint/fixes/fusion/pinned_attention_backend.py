"""Writes `sdpa_kernel([…])` for the deprecated `torch.backends.cuda.sdp_kernel(…)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.attention_backends import Pin
from cudalint.facts.flow import walk
from cudalint.facts.python import PythonFacts
from cudalint.facts.references import root_of
from cudalint.facts.respell import replace
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from tree_sitter import Node

# In the order of the old parameters; listed in the order in which torch's own context lists them.
_FLAGS = ("enable_flash", "enable_math", "enable_mem_efficient", "enable_cudnn")
_BACKENDS = {
    "enable_flash": "FLASH_ATTENTION",
    "enable_mem_efficient": "EFFICIENT_ATTENTION",
    "enable_math": "MATH",
    "enable_cudnn": "CUDNN_ATTENTION",
}


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    pin: Pin = finding.captures["pin"]
    if pin.kind != "deprecated":
        return Refusal("what the restriction is for is not in sight")
    if any(node.type == "comment" for node in walk(pin.call)):
        return Refusal("a comment stands among its arguments")
    backends = _backends(facts, pin.call)
    if backends is None:
        return Refusal("which backends it enables is not written as literals")
    if backends in ([], ["MATH"]):
        return Refusal("it leaves no fused backend to choose")
    return Plan("safe", "Replace with `sdpa_kernel`", finding, facts, {"backends": backends})


def _backends(facts: PythonFacts, node: Node) -> list[str] | None:
    given = facts.names.arguments(node)
    if given.open or not set(given.keywords) <= set(_FLAGS) or len(given.positional) > len(_FLAGS):
        return None
    chosen = {}
    for at, flag in enumerate(_FLAGS):
        value = given.get(flag, at)
        if value is not None and value.type not in ("true", "false"):
            return None
        chosen[flag] = value is None or value.type == "true"
    return [name for flag, name in _BACKENDS.items() if chosen[flag]]


def write(plan: Plan) -> Patch:
    facts = plan.facts
    assert isinstance(facts, PythonFacts)
    pin: Pin = plan.finding.captures["pin"]
    name, kernel = facts.names.need("torch.nn.attention", "sdpa_kernel")
    owner, backend = facts.names.need("torch.nn.attention", "SDPBackend")
    given = ", ".join(f"{owner}.{name}" for name in plan.data["backends"])
    text = call(facts, pin.call, name, [f"[{given}]"])
    used = frozenset({facts.code(root_of(pin.reference.node))})
    return Patch((replace(pin.call, text),), frozenset({kernel, backend}), used)
