"""Chooses TF32 products at the program's start; by policy also bfloat16 autocast for the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.flow import within
from cudalint.facts.program_steps import Step
from cudalint.facts.programs import IMPORTS, Programs
from cudalint.facts.python import PythonFacts
from cudalint.lazy import lazy_compile
from cudalint.model import Edit, Finding, Need, Patch, Plan, Refusal, Span

if TYPE_CHECKING:
    from tree_sitter import Node

CHOICE = 'set_float32_matmul_precision("high")'
# Losses that raise under autocast; spawned processes do not run the guard's body.
NOT_UNDER_AUTOCAST = lazy_compile(rb"\bBCELoss\b|\bbinary_cross_entropy\b(?!_with)")
SPAWNS = lazy_compile(rb"\bspawn\s*\(|\bProcess\s*\(|notebook_launcher")
JUMPS = lazy_compile(r"\b(?:yield|await)\b")


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove where the program starts, and which statements are the forward pass and the loss."""
    programs: Programs = finding.captures["programs"]
    step: Step = finding.captures["step"]
    torch = _torch(facts)
    if torch is None:
        return Refusal("`torch` stands for something else in the file")
    spelled, need = torch
    start = _start(programs, facts)
    if start is None:
        return Refusal("where the program starts is not in sight")
    if need is not None and start.type in IMPORTS:
        return Refusal("the file does not import `torch` itself")
    data: dict[str, object] = {"torch": spelled, "need": need, "start": start}
    title = f"Choose TF32 products with `{spelled}.{CHOICE}`"
    has_trainer = step.kind == "training" and step.backward is None  # it has an option for that
    if facts.settings.precision_policy == "bf16" and not has_trainer:
        body = _forward(step, facts)
        if isinstance(body, Refusal):
            return body
        data["body"] = body
        title += ", and bfloat16 autocast for the forward pass and the loss"
    return Plan("unsafe", title, finding, facts, data)


def write(plan: Plan) -> Patch:
    """Insert the choice; wrap the statements of the step with LibCST."""
    facts = plan.facts
    assert isinstance(facts, PythonFacts)
    line = f"{plan.data['torch']}.{CHOICE}".encode()
    edits = [_inserted(plan.data["start"], line, facts)]
    if body := plan.data.get("body"):
        from cudalint.fixes.precision._wrapping import wrapped

        header = f'{plan.data["torch"]}.amp.autocast("cuda", dtype={plan.data["torch"]}.bfloat16)'
        edits.append(wrapped(body, header, facts))
    needs = frozenset({plan.data["need"]}) if plan.data["need"] else frozenset()
    return Patch(tuple(edits), needs)


def _torch(facts: PythonFacts) -> tuple[str, Need | None] | None:
    """How torch is spelled at the module's level, and the import that this needs."""
    spelled, need = facts.names.need("torch")
    found = facts.names.module.bindings.get(spelled, [])
    if not found:
        return spelled, need
    return (spelled, None) if all(one.kind == "import" for one in found) else None


# -- the start of the program ---------------------------------------------------------------------


def _start(programs: Programs, facts: PythonFacts) -> Node | None:
    """The statement before which the choice goes: first of the guard, or after the imports.

    Processes that a program spawns import the file and never run its guard: there it is the
    module's level.
    """
    guard = programs.guard
    body = guard.child_by_field_name("consequence") if guard is not None else None
    if body is not None and body.named_children and not SPAWNS.search(facts.text):
        first = [child for child in body.named_children if child.type != "comment"]
        return first[0] if first else None
    return _after_imports(facts)


def _after_imports(facts: PythonFacts) -> Node | None:
    """The last import at the left margin before other code, torch's among or before it."""
    last = None
    for node in facts.root.named_children:
        if node.type in IMPORTS:
            last = node
        elif node.type == "comment" or _is_docstring(node):
            continue
        elif last is not None and _names_torch(last, facts):
            break
    return last


def _names_torch(last: Node, facts: PythonFacts) -> bool:
    """Whether torch is imported up to a statement."""
    bound = [one for found in facts.names.module.bindings.values() for one in found]
    return any(
        one.kind == "import" and one.target == "torch" and one.node.start_byte <= last.end_byte
        for one in bound
    )


def _is_docstring(node: Node) -> bool:
    inner = node.named_children[0] if node.type == "expression_statement" else None
    return inner is not None and inner.type == "string"


def _inserted(start: Node, line: bytes, facts: PythonFacts) -> Edit:
    newline = b"\r\n" if b"\r\n" in facts.text else b"\n"
    if start.type in IMPORTS and start.parent is not None and start.parent.type == "module":
        return _after(start, line, newline, facts)
    at = facts.text.rfind(b"\n", 0, start.start_byte) + 1
    indent = facts.text[at : start.start_byte]
    if indent.strip():  # `if __name__ == "__main__": main()` on one row
        colon = facts.text.rfind(b":", 0, start.start_byte) + 1
        inner = newline + b"    "
        return Edit(Span(colon, start.start_byte), inner + line + inner)
    return Edit(Span(start.start_byte, start.start_byte), line + newline + indent)


def _after(last: Node, line: bytes, newline: bytes, facts: PythonFacts) -> Edit:
    """After the imports, an empty row before it; what follows keeps its distance."""
    end = facts.text.find(b"\n", last.end_byte)
    at = len(facts.text) if end < 0 else end + 1
    lead = b"" if end >= 0 else newline
    return Edit(Span(at, at), lead + newline + line + newline)


# -- the step -------------------------------------------------------------------------------------


def _forward(step: Step, facts: PythonFacts) -> tuple[Node, ...] | Refusal:
    """The statements from the model call up to the backward pass, which stay in one block."""
    if NOT_UNDER_AUTOCAST.search(facts.text):
        return Refusal("its binary cross-entropy cannot run under autocast")
    block = step.first.parent
    if block is None or step.first.type == "return_statement":
        return Refusal("the model call is returned as it is made")
    if not _is_alone(step.first, facts):
        return Refusal("the row of the model call holds another statement")
    if step.backward is None:
        return (step.first,)
    if not within(step.backward, block):
        return Refusal("the model call and the backward pass stand in different blocks")
    made = []
    for statement in block.named_children:
        if statement.start_byte < step.first.start_byte:
            continue
        if within(step.backward, statement):
            break
        made.append(statement)
    while made and _is_bookkeeping(made[-1], facts):
        made.pop()
    if not made or any(JUMPS.search(facts.code(statement)) for statement in made):
        return Refusal("the loss is made in the statement of the backward pass")
    return tuple(made)


def _is_alone(statement: Node, facts: PythonFacts) -> bool:
    """Whether a statement's rows hold nothing else: no `;`, no header of a block."""
    start = facts.text.rfind(b"\n", 0, statement.start_byte) + 1
    end = facts.text.find(b"\n", statement.end_byte)
    after = facts.text[statement.end_byte : end if end >= 0 else None].strip()
    return not facts.text[start : statement.start_byte].strip() and after[:1] in (b"", b"#")


def _is_bookkeeping(statement: Node, facts: PythonFacts) -> bool:
    """`optimizer.zero_grad()` and comments after the loss belong to the backward pass."""
    return statement.type == "comment" or ".zero_grad(" in facts.code(statement)
