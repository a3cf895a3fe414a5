"""The check that the file or PyTorch already has, behind the launch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.cuda import CudaFacts
from cudalint.facts.cuda.errors import checks, names_check
from cudalint.facts.cuda.evaluate import arguments_of, text_of
from cudalint.facts.cuda.layout import after_statement, newline, row_indent
from cudalint.lazy import lazy_compile
from cudalint.model import Edit, Finding, Need, Patch, Plan, Refusal, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda.functions import Function
    from cudalint.facts.cuda.launches import Launch

_TORCH_CHECK = "C10_CUDA_KERNEL_LAUNCH_CHECK();"
_TORCH_HEADER = "<c10/cuda/CUDAException.h>"
_HAS_HEADER = lazy_compile(
    rb"#[ \t]*include[ \t]*<(?:c10/cuda/CUDAException|ATen/cuda/(?:CUDAContext|Exceptions))\.h>"
)
_STABLE = lazy_compile(rb"#[ \t]*include[ \t]*<torch/(?:csrc/stable|headeronly)/")
_LAST_ERROR = lazy_compile(r"(?:\w+::)*cuda(?:GetLastError|PeekAtLastError)\(\)")
_TESTS = lazy_compile(r"cudaError|cudaSuccess")
_BRACELESS = frozenset({"if_statement", "else_clause", "for_statement", "while_statement"})


def plan(finding: Finding, facts: CudaFacts) -> Plan | Refusal:
    launch: Launch = finding.captures["launch"]
    function = launch.function
    statement = launch.node.parent
    if function is None or function.macro is not None:
        return Refusal("the launch stands in a macro")
    if statement is None or statement.type != "expression_statement":
        return Refusal("the launch is part of a larger expression")
    if statement.children[-1].is_missing:
        return Refusal("the launch does not end in a semicolon")
    check = _own_check(function, launch.node, facts)
    header = ""
    if check is None:
        if not facts.is_torch or _STABLE.search(facts.text) is not None:
            return Refusal("the file has no check of its own for launch errors")
        check = _TORCH_CHECK
        header = "" if _HAS_HEADER.search(facts.text) else _TORCH_HEADER
    title = f"Add `{check.rstrip(';')}`"
    data = {"statement": statement, "check": check, "header": header}
    return Plan("safe", title, finding, facts, data)


def write(plan: Plan) -> Patch:
    edits = _insertion(plan.data["statement"], plan.data["check"], plan.facts.text)
    header = plan.data["header"]
    return Patch(tuple(edits), needs=frozenset({Need(header, "")} if header else ()))


def _own_check(function: Function, launch: Node, facts: CudaFacts) -> str | None:
    """The statement by which this file asks for the last error; the most frequent one."""
    found: Counter[str] = Counter()
    for other in facts.functions:
        if other.is_kernel or other.is_device or other.macro is not None or not other.is_whole:
            continue
        same = other is function or _returns(other) == _returns(function)
        for text in _last_error_statements(other):
            if same and _is_usable(text, launch, facts):
                found[text] += 2
        for name in _wrappers(other):
            text = f"{name}(cudaGetLastError());"
            if same and _is_usable(text, launch, facts):
                found[text] += 1
    for macro in facts.macros.all():
        if macro.parameters and len(macro.parameters) == 1 and _TESTS.search(macro.body):
            text = f"{macro.name}(cudaGetLastError());"
            if " return" not in macro.body and _is_usable(text, launch, facts):
                found.setdefault(text, 0)
    return found.most_common(1)[0][0] if found else None


def _returns(function: Function) -> str:
    kind = function.node.child_by_field_name("type")
    return text_of(kind) if kind is not None else ""


def _last_error_statements(function: Function) -> Iterator[str]:
    """Statements that ask for the last error and name nothing of their own function."""
    for node in checks(function):
        top = node
        while top.parent is not None and top.parent.type in ("argument_list", "call_expression"):
            top = top.parent
        if top.parent is None or top.parent.type not in ("expression_statement", "declaration"):
            continue
        text = " ".join(text_of(top.parent).split())
        inner = re.fullmatch(r"([\w:]+)(?:\((.*)\))?;", text)
        if inner is None:
            continue
        argument = inner.group(2) or ""
        if not argument or _LAST_ERROR.fullmatch(argument):
            yield text


def _wrappers(function: Function) -> Iterator[str]:
    """Names of the macros and helpers that a function wraps around calls of the runtime."""
    stack = [function.body]
    while stack:
        node = stack.pop()
        stack += node.named_children
        if node.type != "call_expression" or node.parent is None:
            continue
        if node.parent.type != "expression_statement":
            continue
        callee, arguments = node.child_by_field_name("function"), arguments_of(node)
        if callee is None or len(arguments) != 1 or arguments[0].type != "call_expression":
            continue
        name, inside = text_of(callee), text_of(arguments[0])
        if re.match(r"cuda[A-Z]\w+\(", inside) and re.fullmatch(r"[\w:]+", name):
            yield name


def _is_usable(text: str, launch: Node, facts: CudaFacts) -> bool:
    """Whether what a check names is defined above the launch, or in another file."""
    name = re.match(r"\w+", text)
    if name is None:
        return False
    if not names_check(name.group(), facts) and "Error()" not in text:
        return False
    macros = facts.macros.by_name.get(name.group(), ())
    functions = facts.by_name.get(name.group(), ())
    starts = [macro.span.start for macro in macros] + [one.node.start_byte for one in functions]
    return all(start < launch.start_byte for start in starts)


def _insertion(statement: Node, check: str, text: bytes) -> Iterator[Edit]:
    """The check on a row of its own behind the statement; braces where there were none."""
    end, parent = statement.end_byte, statement.parent
    start, indent = statement.start_byte, row_indent(text, statement.start_byte)
    own_row = not text[text.rfind(b"\n", 0, start) + 1 : start].strip()
    if parent is not None and parent.type in _BRACELESS:
        before = statement.prev_sibling
        head = before.end_byte if before is not None else start
        if not own_row:
            yield Edit(Span(start, start), b"{ ")
            yield Edit(Span(end, end), b" " + check.encode() + b" }")
            return
        outer = row_indent(text, parent.start_byte)
        row = newline(text) + indent + check.encode() + newline(text) + outer + b"}"
        yield Edit(Span(head, head), b" {")
        yield Edit(Span(end, end), row)
        return
    at = after_statement(text, end)
    if at is None:
        yield Edit(Span(end, end), b" " + check.encode())
    else:
        yield Edit(Span(at, at), newline(text) + indent + check.encode())
