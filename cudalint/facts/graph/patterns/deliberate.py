"""Slow code that stands beside the fast one on purpose: guarded branches and references."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.guards import is_guarded
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

FUSED = lazy_compile(
    rb"scaled_dot_product|(?<![a-z])sdpa|flash|xformers|memory_efficient|mem_eff|\bxops\b|fused"
    rb"|flex_attention|_varlen|block_sparse_attn|sageattn|kernel_attention",
    re.IGNORECASE,
)
FUSED_NORM = lazy_compile(
    rb"F\.rms_norm|functional\.rms_norm|fused|apex|liger|triton|kernel|flash|quack|cuda_ext|nn\.RMSNorm"
    rb"|_ops\.|custom_ops|torch\.rms_norm",
    re.IGNORECASE,
)
FUSED_ACTIVATION = lazy_compile(
    rb"F\.(?:gelu|silu|glu)|functional\.(?:gelu|silu|glu)|nn\.(?:GELU|SiLU|GLU)|torch\._C\._nn|fused"
    rb"|liger|triton|xformers|\bxops\b|apex|kernel(?!_size)|_ops\.|custom_ops",
    re.IGNORECASE,
)
FUSED_GLU = lazy_compile(
    rb"fused|liger|triton|xformers|\bxops\b|apex|kernel(?!_size)|_ops\.|custom_ops|flash_attn"
    rb"|silu_and_mul|swiglu_?(?:linear|torch|packed)",
    re.IGNORECASE,
)
FUSED_ROPE = lazy_compile(
    rb"fused|liger|triton|apex|flash_attn|kernel(?!_size)|_ops\.|custom_ops|apply_rotary_emb_func"
    rb"|npu_rotary|flashinfer",
    re.IGNORECASE,
)
_CHOICE = lazy_compile(
    rb"flash|sdpa|fused|xformers|efficient|eager|scripting|tracing|onnx|export|torchscript"
    rb"|slow|naive|vanilla|math",
    re.IGNORECASE,
)
# An accelerator that is not CUDA: its branch guards nothing here.
_ELSEWHERE = lazy_compile(rb"[\w.]*(?:npu|mlu|xla|ascend|_tpu)[\w.]*", re.IGNORECASE)
# What is there to be compared with, wherever it stands.
_REFERENCE = lazy_compile(
    r"(?:^|_)(?:refs?|references?|golden|expected)(?:_|$|\d)|[a-z](?:Ref|Reference)$|^(?:Ref|Reference)(?=[A-Z_]|$)"
)
_PATTERN = lazy_compile(r"(?:^|_)pattern(?:_|$)")
# What a function is called beside a fused one of the same file.
_BESIDE = lazy_compile(
    r"(?:^|_)(?:naive|baseline|eager|slow|unfused|manual|vanilla|standard|py_?torch|torch|native|python)"
    r"(?:_|$|\d)|(?:Naive|Baseline|Eager|Unfused|Vanilla)(?=[A-Z_]|$)"
)
_ENDING = {"return_statement", "raise_statement"}


def is_deliberate(facts: PythonFacts, node: Node, fused: re.Pattern[bytes] = FUSED) -> bool:
    """Whether hand-written code is one side of a pair whose other side is a fused call."""
    if _is_expected(facts, node):
        return True
    if not fused.search(facts.text):
        return _is_guarded(facts, node)
    function = facts.names.enclosing(node, "function_definition")
    if _has_alternative(facts, node, fused) or _is_guarded(facts, node):
        return True
    return function is not None and (
        _is_beside(facts, function) or _is_called_so(facts, function, fused)
    )


def _is_guarded(facts: PythonFacts, node: Node) -> bool:
    """A version or feature test, but none of another accelerator: that guards nothing on CUDA."""
    function = facts.names.enclosing(node, "function_definition")
    if function is not None and _ELSEWHERE.search(facts.text, function.start_byte, node.start_byte):
        return False
    return is_guarded(facts, node)


def _is_expected(facts: PythonFacts, node: Node) -> bool:
    """What a test compares with: `ref_out = …`, `expected.append(…)`, the body of a test.

    A function called a pattern is what a rewriting of graphs looks for.
    """
    statement = facts.names.statement(node)
    text = facts.code(statement).partition("=")[0].partition("(")[0]
    if any(_REFERENCE.search(word) for word in re.findall(r"\w+", text)):
        return True
    function = facts.names.enclosing(node, "function_definition")
    name = function.child_by_field_name("name") if function is not None else None
    called = facts.code(name) if name is not None else ""
    return called.startswith("test_") or bool(_REFERENCE.search(called) or _PATTERN.search(called))


def _has_alternative(facts: PythonFacts, node: Node, fused: re.Pattern[bytes]) -> bool:
    """Whether another arm of a branch around the code, or one that returned before it, is fused."""
    child, parent = node, node.parent
    while parent is not None and child.type != "class_definition":
        kind = parent.type
        if kind in ("if_statement", "conditional_expression"):
            if any(
                _is_fused(facts, arm, fused) for arm in parent.named_children if arm.id != child.id
            ):
                return True
        elif kind == "try_statement" and _is_fused(facts, parent.named_children[0], fused):
            return parent.named_children[0].id != child.id
        elif kind == "block" and _left_before(facts, parent, child, fused):
            return True
        child, parent = parent, parent.parent
    return False


def _is_fused(facts: PythonFacts, arm: Node, fused: re.Pattern[bytes]) -> bool:
    text = _ELSEWHERE.sub(b"", facts.text[arm.start_byte : arm.end_byte])
    if arm.type in ("block", "else_clause", "elif_clause"):
        return fused.search(text) is not None
    return _CHOICE.search(text) is not None


def _left_before(facts: PythonFacts, block: Node, child: Node, fused: re.Pattern[bytes]) -> bool:
    for statement in block.named_children:
        if statement.start_byte >= child.start_byte:
            return False
        if statement.type != "if_statement":
            continue
        body = statement.child_by_field_name("consequence")
        last = body.named_children[-1] if body is not None and body.named_children else None
        if last is not None and last.type in _ENDING and body is not None:
            test = statement.child_by_field_name("condition")
            if _is_fused(facts, body, fused) or (
                test is not None and _returns_choice(facts, test, last, fused)
            ):
                return True
    return False


def _returns_choice(facts: PythonFacts, test: Node, last: Node, fused: re.Pattern[bytes]) -> bool:
    return last.type == "return_statement" and _is_fused(facts, test, fused)


def _is_beside(facts: PythonFacts, function: Node) -> bool:
    """Whether the name of a function or its class says that a fused one stands beside it."""
    holder = facts.names.enclosing(function, "class_definition")
    names = [node.child_by_field_name("name") for node in (function, holder) if node is not None]
    texts = [facts.code(name) for name in names if name is not None]
    return any(_BESIDE.search(text) or _REFERENCE.search(text) for text in texts)


def _is_called_so(facts: PythonFacts, function: Node, fused: re.Pattern[bytes]) -> bool:
    """Whether the file only ever takes the function, or its class, where a fused one is not."""
    name = function.child_by_field_name("name")
    holder = facts.names.enclosing(function, "class_definition")
    if name is not None and facts.code(name) not in ("forward", "__call__", "__init__"):
        uses = [c for c in facts.calls(facts.code(name)) if not _within(c, function)]
        uses = uses or list(_mentions(facts, facts.code(name), function))
    elif holder is not None and (name := holder.child_by_field_name("name")) is not None:
        uses = [n for n in facts.identifiers(facts.code(name)) if not _within(n, holder)]
    else:
        return False
    return bool(uses) and all(_has_alternative(facts, use, fused) for use in uses)


def _mentions(facts: PythonFacts, name: str, function: Node) -> Iterator[Node]:
    """Where a function that is never called is chosen: `act = gelu`, `self.act = self._gelu`."""
    for node in facts.identifiers(name):
        parent = node.parent
        member = parent is not None and parent.type == "attribute" and parent.children[0] != node
        own = member and parent is not None and facts.code(parent.children[0]) in ("self", "cls")
        if (own or not member) and not _within(node, function):
            yield node


def _within(node: Node, holder: Node) -> bool:
    return holder.start_byte <= node.start_byte < holder.end_byte


def is_autograd_function(facts: PythonFacts, function: Node) -> bool:
    """Whether a function is a step of `torch.autograd.Function`, which brings its own backward."""
    holder = facts.names.enclosing(function, "class_definition")
    given = holder.child_by_field_name("superclasses") if holder is not None else None
    return given is not None and any(
        facts.code(base).endswith("Function") for base in given.named_children
    )


def is_autograd_helper(facts: PythonFacts, function: Node) -> bool:
    """Whether it is such a step, or the file calls it from nowhere else."""
    if is_autograd_function(facts, function):
        return True
    name = function.child_by_field_name("name")
    calls = list(facts.calls(facts.code(name))) if name is not None else []
    return bool(calls) and all(is_autograd_function(facts, call) for call in calls)


def is_compiled(facts: PythonFacts, function: Node) -> bool:
    """Whether a function is handed to a compiler that fuses its operations."""
    parent = function.parent
    if parent is None or parent.type != "decorated_definition":
        return False
    marks = [child for child in parent.named_children if child.type == "decorator"]
    return any(
        re.search(r"\bcompile\b|jit\.script|jit_fuser|register_decomposition", facts.code(mark))
        for mark in marks
    )
