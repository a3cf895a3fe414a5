"""Writes the dtype's own minimum where a mask is filled with a large finite number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.facts.constants import scalar
from cudalint.facts.dtypes import cast_dtype, is_float32, is_plain
from cudalint.facts.fills import Fill
from cudalint.facts.python import PythonFacts
from cudalint.facts.respell import replace, torch_name
from cudalint.model import Edit, Finding, Patch, Plan, Refusal, Span

if TYPE_CHECKING:
    from tree_sitter import Node

UNKNOWN = "the dtype of the filled tensor is not in sight"
FLOAT32 = "the tensor is float32, where the number fits"


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove which dtype the filled tensor has at this place."""
    fill: Fill = finding.captures["fill"]
    if fill.optional:
        return Refusal("the number is a default that callers may replace")
    if is_causal_alone(fill, facts):
        title = 'Fill with `float("-inf")`'
        return Plan("unsafe", title, finding, facts, {"text": 'float("-inf")'})
    dtype = _dtype(fill, facts)
    if isinstance(dtype, Refusal):
        return dtype
    spelling = torch_name(facts, fill.operation, "torch")
    if spelling is None:
        return Refusal("a local name hides `torch`")
    end = "min" if fill.value < 0 else "max"
    text = f"{spelling.text}.finfo({dtype}).{end}"
    data = {"text": text, "needs": spelling.needs, "split": _splits(fill, facts)}
    return Plan("unsafe", f"Fill with `{text}`", finding, facts, data)


def write(plan: Plan) -> Patch:
    """Put the minimum in place of the number; a chain gets its tensor named first."""
    fill: Fill = plan.finding.captures["fill"]
    edits = [replace(fill.constant, plan.data["text"])]
    if plan.data.get("split") and fill.tensor is not None:
        facts = plan.facts
        assert isinstance(facts, PythonFacts)
        edits += _split(fill, fill.tensor, facts)
    return Patch(tuple(edits), plan.data.get("needs", frozenset()))


def _split(fill: Fill, tensor: Node, facts: PythonFacts) -> list[Edit]:
    """End the statement after the tensor and go on from its name."""
    statement = facts.names.statement(fill.operation)
    name = _assigned(fill, facts)
    start = facts.text.rfind(b"\n", 0, statement.start_byte) + 1
    indent = facts.text[start : statement.start_byte]
    newline = b"\r\n" if b"\r\n" in facts.text else b"\n"
    again = newline + indent + f"{name} = {name}".encode()
    end = tensor.end_byte
    one_row = tensor.start_point[0] == tensor.end_point[0]
    if tensor.type != "parenthesized_expression" or not one_row:
        return [Edit(Span(end, end), again)]
    opening = Span(tensor.start_byte, tensor.start_byte + 1)
    return [Edit(opening, b""), Edit(Span(end - 1, end), again)]


def _dtype(fill: Fill, facts: PythonFacts) -> str | Refusal:
    """The source of the dtype that the fill has to fit, or why there is none."""
    tensor = fill.tensor
    if fill.kind == "full":
        return _full_dtype(fill, facts)
    if tensor is None:
        return Refusal(UNKNOWN)
    if fill.kind == "product":
        dtype = cast_dtype(facts, tensor)
        if dtype is None:
            return Refusal("the dtype of the mask is not in sight")
        return Refusal(FLOAT32) if dtype == "torch.float32" else dtype
    if is_float32(facts, tensor):
        return Refusal(FLOAT32)
    if is_plain(facts, tensor):
        if _is_integral(fill, facts):
            return Refusal("the filled tensor may hold integers")
        return f"{facts.code(tensor)}.dtype"
    if _splits(fill, facts):
        return f"{_assigned(fill, facts)}.dtype"
    return Refusal("the filled tensor has no name whose dtype could be asked for")


def _full_dtype(fill: Fill, facts: PythonFacts) -> str | Refusal:
    """A tensor made whole: the dtype that it is given, or that of the tensor it is like."""
    if fill.operation.type == "call":
        given = facts.names.arguments(fill.operation).keywords.get("dtype")
        if given is not None and is_plain(facts, given):
            text = facts.code(given)
            return Refusal(FLOAT32) if re.search(r"float32$|\.float$", text) else text
        if given is not None:
            return Refusal(UNKNOWN)
    if fill.tensor is not None and is_plain(facts, fill.tensor):
        return f"{facts.code(fill.tensor)}.dtype"
    return Refusal(UNKNOWN)


def _is_integral(fill: Fill, facts: PythonFacts) -> bool:
    """An integer written into what no name calls scores may be written into integers."""
    integer = scalar(facts, fill.constant) is not None and fill.constant.type != "identifier"
    text = facts.code(fill.constant)
    if not integer or re.search(r"[.eE]", text):
        return False
    names = facts.code(fill.tensor) if fill.tensor is not None else ""
    return not re.search(r"att|score|logit|sim|dots|energy|mask|weight|bias|qk", names, re.I)


def _assigned(fill: Fill, facts: PythonFacts) -> str:
    statement = facts.names.statement(fill.operation)
    made = statement.named_children[0] if statement.named_children else None
    left = made.child_by_field_name("left") if made is not None else None
    return facts.code(left) if left is not None else ""


def _splits(fill: Fill, facts: PythonFacts) -> bool:
    """Whether `x = CHAIN.masked_fill(mask, n)` can become two statements: the mask stays as it is."""
    if fill.kind != "masked_fill" or fill.tensor is None or is_plain(facts, fill.tensor):
        return False
    statement = facts.names.statement(fill.operation)
    made = statement.named_children[0] if statement.type == "expression_statement" else None
    function = fill.operation.child_by_field_name("function")
    if made is None or made.type != "assignment" or function is None or _parent_of(made) is None:
        return False
    whole = made.child_by_field_name("right") == fill.operation
    left = made.child_by_field_name("left")
    if not whole or left is None or left.type != "identifier" or function.type != "attribute":
        return False
    start = facts.text.rfind(b"\n", 0, statement.start_byte) + 1
    alone = not facts.text[start : statement.start_byte].strip()
    follows = facts.text[fill.tensor.end_byte : function.end_byte]
    rest = facts.text[function.end_byte : fill.operation.end_byte].decode("utf-8", "replace")
    reads_it = re.search(rf"\b{re.escape(facts.code(left))}\b", rest) is not None
    return alone and b"\n" not in follows and not reads_it and facts.code(made).count("=") >= 1


def _parent_of(made: Node) -> Node | None:
    return made if made.child_by_field_name("type") is None else None


# -- causal masks ---------------------------------------------------------------------------------


def is_causal_alone(fill: Fill, facts: PythonFacts) -> bool:
    """`torch.triu(torch.full((n, n), c), 1)`, added to scores once, no other mask in the function.

    Every row of it keeps its diagonal, so that minus infinity makes no row of NaN.
    """
    call = _triangle(fill, facts)
    function = facts.names.enclosing(fill.operation, "function_definition")
    if call is None or function is None:
        return False
    made = call.parent
    left = made.child_by_field_name("left") if made is not None else None
    if made is None or made.type != "assignment" or left is None or left.type != "identifier":
        return False
    name, body = facts.code(left), facts.code(function)
    others = re.search(r"masked_fill|\bwhere\b|\[[^\]\n]*\]\s*=[^=]|\bis_causal", body)
    masks = {word for word in re.findall(r"\b\w*(?:mask|pad|bias)\w*\b", body) if word != name}
    reads = [node for node in facts.identifiers(name) if _inside(node, function)]
    return not others and not masks and len(reads) == 2 and _is_added(reads[1])


def _triangle(fill: Fill, facts: PythonFacts) -> Node | None:
    """The `torch.triu(full, 1)` around a square fill."""
    if fill.kind != "full" or facts.names.callee(fill.operation) != "torch.full":
        return None
    size = facts.names.arguments(fill.operation).get("size", 0)
    sides = size.named_children if size is not None and size.type in ("tuple", "list") else []
    if len(sides) != 2 or facts.code(sides[0]) != facts.code(sides[1]):
        return None
    call = fill.operation.parent.parent if fill.operation.parent is not None else None
    if call is None or call.type != "call" or facts.names.callee(call) != "torch.triu":
        return None
    given = facts.names.arguments(call)
    diagonal = given.get("diagonal", 1)
    if given.get("input", 0) != fill.operation or diagonal is None or facts.code(diagonal) != "1":
        return None
    return call


def _inside(node: Node, function: Node) -> bool:
    return function.start_byte <= node.start_byte < function.end_byte


def _is_added(name: Node) -> bool:
    """Whether a name is a summand, a cast of it included."""
    node, parent = name, name.parent
    while (
        parent is not None and parent.type in ("attribute", "call") and parent.children[0] == node
    ):
        node, parent = parent, parent.parent
    if parent is None:
        return False
    if parent.type == "augmented_assignment":
        return parent.children[1].type == "+="
    sign = parent.child_by_field_name("operator") if parent.type == "binary_operator" else None
    return sign is not None and sign.type == "+"
