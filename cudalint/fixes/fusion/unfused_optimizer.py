"""Writes `fused=True` into the construction of an optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.respell import with_argument
from cudalint.model import Finding, Patch, Plan, Refusal, Safety
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_SPARSE = Rare(
    (b"parse",),
    rb"\bsparse\s*=\s*(?!False\b)\w|\bis_sparse\b|SparseAdam"
    rb"|sparse_(?:grad|param|emb)|(?:grad|param|emb|optim)\w*_sparse",
)
_COMPLEX = Rare(
    (b"cfloat", b"cdouble", b"complex"), rb"\b(?:cfloat|cdouble|complex64|complex128)\b"
)
# It raises where the gradients of a fused optimizer are to be clipped under float16.
_LIGHTNING = Rare(
    (b"ightning",),
    rb"^[ \t]*(?:import|from)[ \t]+(?:lightning|pytorch_lightning|lightning_fabric)\b|LightningModule",
)
_OTHERS = Rare((b"xla", b"npu", b"mlu"), rb"\b(?:torch_xla|torch_npu|xla|npu|mlu)\b")


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove that nothing in the file makes the fused form raise."""
    call: Node = finding.captures["call"]
    if call.has_error:
        return Refusal("the call has a syntax error")
    if _SPARSE.search(facts.text):
        return Refusal("gradients may be sparse, which the fused form refuses")
    if _COMPLEX.search(facts.text):
        return Refusal("parameters may be complex, which the fused form refuses")
    if _OTHERS.search(facts.text):
        return Refusal("the parameters may be on an accelerator without fused optimizers")
    safety: Safety = "unsafe" if _LIGHTNING.search(facts.text) else "safe"
    return Plan(safety, "Add `fused=True`", finding, facts)


def write(plan: Plan) -> Patch:
    """Append the argument."""
    return Patch((with_argument(plan.finding.captures["call"], None, "fused", "True"),))
