"""Which kernels a program lets torch's fused attention choose from, and whether it says why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.programs import Programs
from cudalint.facts.references import Reference, references
from cudalint.lazy import lazy_compile
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

DEPRECATED = "torch.backends.cuda.sdp_kernel"
CHOICE = "torch.nn.attention.sdpa_kernel"
SWITCH = "torch.backends.cuda.enable_flash_sdp"
_MATH = "torch.nn.attention.SDPBackend.MATH"
# What only the math backend can do, or does in the same order at every run.
_REASON = lazy_compile(
    rb"create_graph|jvp|vjp|hvp|vhp|hessian|jacobian|forward_ad|dual_level|functorch|torch\.func"
    rb"|deterministic|\bonnx|\bexport|xpu\b|_trace|gradgrad|double.?backward",
    re.IGNORECASE,
)
# A file that names other backends too compares them, or picks one by its inputs.
_OTHERS = lazy_compile(rb"(?:FLASH|EFFICIENT|CUDNN)_ATTENTION")


@record(eq=False)
class Pin:
    """One restriction: `kind` is "deprecated", "math" or "flash off"."""

    kind: str
    reference: Reference
    call: Node


def pins(facts: PythonFacts) -> Iterator[Pin]:
    """The restrictions of a file that is no test."""
    if Programs(facts).is_test:
        return
    for reference in references(facts, (DEPRECATED, CHOICE, SWITCH)):
        call = reference.holder
        if reference.role != "call" or call is None:
            continue
        if reference.path == DEPRECATED:
            yield Pin("deprecated", reference, call)
        elif _is_unexplained(facts, call):
            if reference.path == CHOICE and _is_math(facts, call):
                yield Pin("math", reference, call)
            elif reference.path == SWITCH and _turns_off(facts, call):
                yield Pin("flash off", reference, call)


def _is_math(facts: PythonFacts, call: Node) -> bool:
    """`sdpa_kernel(SDPBackend.MATH)`, also as a list of one."""
    given = facts.names.arguments(call)
    node = given.get("backends", 0)
    if node is not None and node.type in ("list", "tuple"):
        parts = [part for part in node.named_children if part.type != "comment"]
        node = parts[0] if len(parts) == 1 else None
    return node is not None and facts.names.qualified(node) == _MATH


def _turns_off(facts: PythonFacts, call: Node) -> bool:
    given = facts.names.arguments(call).get("enabled", 0)
    return given is not None and given.type == "false"


def _is_unexplained(facts: PythonFacts, call: Node) -> bool:
    """Whether nothing near, nor in the file, says what the restriction is for."""
    if _REASON.search(facts.text) or _OTHERS.search(facts.text):
        return False
    statement = facts.names.statement(call)
    first, last = statement.start_point.row, call.end_point.row
    rows = [facts.source.slice(facts.source.row_span(row)) for row in range(first, last + 1)]
    if any(b"#" in _bytes(row) for row in rows) or _has_comment_above(facts, first):
        return False
    at = statement.parent
    while at is not None and at.type not in ("module", "function_definition"):
        if at.type in ("if_statement", "except_clause", "conditional_expression"):
            return False  # chosen by a condition
        at = at.parent
    return True


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _has_comment_above(facts: PythonFacts, row: int) -> bool:
    """A comment above a run of such switches speaks of all of them."""
    while row > 0:
        row -= 1
        text = _bytes(facts.source.slice(facts.source.row_span(row))).strip()
        if text.startswith(b"#"):
            return True
        if b"_sdp(" not in text:
            return False
    return False
