"""Subtracts the row's maximum inside the exponential of a Triton softmax."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.bindings import Binding
from cudalint.facts.constants import number
from cudalint.facts.flow import within
from cudalint.facts.python import PythonFacts
from cudalint.facts.respell import replace
from cudalint.facts.triton import Operation, Triton
from cudalint.facts.triton_lanes import UNKNOWN, Lanes
from cudalint.facts.triton_softmax import Softmax, Softmaxes
from cudalint.model import Edit, Finding, Patch, Plan, Refusal, Span

if TYPE_CHECKING:
    from tree_sitter import Node

ACCUMULATED = "the sum is accumulated, so that the maximum needs a pass of its own"
ELSEWHERE = "the exponential or its sum is used elsewhere too"
CASTS = ("to", "cast")
SHORT = 60
PLAIN = ("identifier", "binary_operator", "parenthesized_expression", "subscript", "call")


class Path(NamedTuple):
    """What lies between an expression and the operation that it is: names, a mask, a subscript."""

    end: Node
    names: tuple[Node, ...] = ()
    mask: str = ""
    subscript: str = ""


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove that the row is whole, its masked lanes are low, and nothing else sees the shift."""
    found: Softmax = finding.captures["softmax"]
    softmaxes: Softmaxes = finding.captures["softmaxes"]
    proof = _Proof(facts, softmaxes, found)
    inner = proof.path(found.total.operands[0])
    if inner is None or inner.end.id != found.exponential.node.id or proof.is_twofold:
        return Refusal(ACCUMULATED)
    outer = proof.divisor_path()
    if outer is None:
        return Refusal("how the sum reaches the division is not proven")
    if not proof.is_closed((*inner.names, *outer.names)):
        return Refusal(ELSEWHERE)
    tl = _language(facts)
    axis = _axis(found.total, facts)
    if tl is None or axis is None or found.total.name != "sum":
        return Refusal("how `max` would be called is not in sight")
    argument = found.exponential.operands[0]
    masked = Lanes(facts, softmaxes.triton).state(argument) == UNKNOWN
    if masked and not inner.mask:
        return Refusal("what the masked lanes hold is not proven to be minus infinity")
    repeat = _repeats(argument, found.exponential.node, facts)
    if repeat is None:
        return Refusal("the argument of the exponential would be computed twice")
    data = {"tl": tl, "axis": axis, "subscript": outer.subscript, "repeat": repeat}
    data["mask"] = inner.mask if masked else ""
    title = f"Subtract `{tl}.max` of the row"
    return Plan("safe", title, finding, facts, data)


def write(plan: Plan) -> Patch:
    """`exp(a)` becomes `exp(a - tl.max(a, axis))`; a long `a` gets its own statement first."""
    facts, data = plan.facts, plan.data
    found: Softmax = plan.finding.captures["softmax"]
    argument = found.exponential.operands[0]
    edits: list[Edit] = []
    text = data["repeat"] or facts.code(argument)
    if data["repeat"]:
        assert isinstance(facts, PythonFacts)
        statement = facts.names.statement(argument)
        start = facts.text.rfind(b"\n", 0, statement.start_byte) + 1
        indent = facts.text[start : statement.start_byte].decode()
        newline = "\r\n" if b"\r\n" in facts.text else "\n"
        line = f"{text} = {facts.code(argument)}{newline}{indent}"
        edits.append(Edit(Span(statement.start_byte, statement.start_byte), line.encode()))
    taken = f'{data["tl"]}.where({data["mask"]}, {text}, -float("inf"))' if data["mask"] else text
    shifted = f"{text} - {data['tl']}.max({taken}{data['axis']}){data['subscript']}"
    if _is_member(found.exponential.node, argument):
        shifted = f"({shifted})"
    return Patch((*edits, replace(argument, shifted)))


class _Proof:
    def __init__(self, facts: PythonFacts, softmaxes: Softmaxes, found: Softmax) -> None:
        self.facts = facts
        self.softmaxes = softmaxes
        self.triton: Triton = softmaxes.triton
        self.found = found
        self.quotients = [
            (division, numerator, divisor)
            for division, numerator, divisor in softmaxes.quotients.divisions(found.kernel)
            if any(total.node.id == found.total.node.id for total in softmaxes.totals(divisor))
        ]

    @property
    def is_twofold(self) -> bool:
        """Whether another exponential is divided too (a second pass over the data)."""
        return any(
            one.node.id != self.found.exponential.node.id
            for _, numerator, _ in self.quotients
            for one in self.softmaxes.exponentials(numerator)
        )

    def path(self, node: Node) -> Path | None:
        """From an expression back to the call that makes it, through names bound once to it."""
        names: list[Node] = []
        mask = subscript = ""
        for _ in range(12):
            operation = self.triton.operation(node)
            if node.type == "identifier":
                names.append(node)
                sources = list(self.triton.sources(node))
                single = len(sources) == 1 and len(self.facts.flow.reaching(node)) == 1
                if not single or sources[0].type == "augmented_assignment":
                    return None
                node = sources[0]
            elif node.type == "parenthesized_expression":
                node = node.named_children[0]
            elif node.type == "subscript" and not subscript:
                inner = node.children[0]
                subscript = self.facts.code(node)[inner.end_byte - node.start_byte :]
                node = inner
            elif operation is not None and operation.name in CASTS:
                node = operation.operands[0]
            elif operation is not None and self._is_zeroing(operation) and not mask:
                mask = self.facts.code(operation.operands[0])
                node = operation.operands[1]
            elif (inverse := self._inverse(node)) is not None:
                node = inverse
            else:
                return Path(node, tuple(names), mask, subscript)
        return None

    def _inverse(self, node: Node) -> Node | None:
        """The divisor of `1.0 / s`."""
        if node.type != "binary_operator" or node.children[1].type != "/":
            return None
        one = number(self.facts, node.child_by_field_name("left"))
        return node.child_by_field_name("right") if one == 1.0 else None

    def _is_zeroing(self, operation: Operation) -> bool:
        """`where(mask, e, 0.0)`."""
        if operation.name != "where" or len(operation.operands) != 3:
            return False
        return self.facts.code(operation.operands[2]) in ("0", "0.0", "0.")

    def divisor_path(self) -> Path | None:
        """The one way in which every quotient's divisor is the sum, else None."""
        quotients = [one for one in self.quotients if number(self.facts, one[1]) != 1.0]
        paths = [self.path(divisor) for _, _, divisor in quotients]
        total = self.found.total.node.id
        if not paths or any(path is None or path.end.id != total or path.mask for path in paths):
            return None
        known = [path for path in paths if path is not None]
        names = tuple(name for path in known for name in path.names)
        if len({path.subscript for path in known}) != 1:
            return None
        return Path(self.found.total.node, names, "", known[0].subscript)

    def is_closed(self, names: tuple[Node, ...]) -> bool:
        """Whether the names on the way are read by the sum, the quotients and each other alone."""
        allowed = [self.found.total.node, *(quotient[0] for quotient in self.quotients)]
        bindings = {b.node.id: b for name in names for b in self.facts.flow.reaching(name)}
        for _, numerator, _ in self.quotients:
            made = self._bound_by(numerator)
            if made is None:
                return False
            bindings.update({binding.node.id: binding for binding in made})
        allowed += [binding.statement for binding in bindings.values()]
        reads = [read for binding in bindings.values() for read in self._reads(binding)]
        return all(any(within(read, place) for place in allowed) for read in reads)

    def _bound_by(self, numerator: Node) -> list[Binding] | None:
        """The bindings between the exponential and a quotient."""
        if number(self.facts, numerator) == 1.0:
            return []  # its name is on the way from the sum to the quotient that multiplies by it
        path = self.path(numerator)
        if path is None or path.end.id != self.found.exponential.node.id:
            return None
        return [b for name in path.names for b in self.facts.flow.reaching(name)]

    def _reads(self, binding: Binding) -> Iterator[Node]:
        """Where the value of a binding is read in the kernel."""
        for read in self.facts.identifiers(self.facts.code(binding.node)):
            if not within(read, self.found.kernel.body) or _is_target(read):
                continue
            if any(one.node.id == binding.node.id for one in self.facts.flow.reaching(read)):
                yield read


def _is_target(name: Node) -> bool:
    parent = name.parent
    return (
        parent is not None
        and parent.type == "assignment"
        and parent.child_by_field_name("left") == name
    )


def _language(facts: PythonFacts) -> str | None:
    """How the file names `triton.language`."""
    for name, bindings in facts.names.module.bindings.items():
        if len(bindings) == 1 and bindings[0].target == "triton.language":
            return name
    return None


def _axis(total: Operation, facts: PythonFacts) -> str | None:
    """The axis of the sum as further arguments of `max`; None where one cannot be carried over."""
    made = [facts.code(node) for node in total.operands[1:]]
    for name, value in total.keywords.items():
        if name in ("axis", "keep_dims"):
            made.append(f"{name}={facts.code(value)}")
        elif name != "dtype":
            return None
    return "".join(f", {text}" for text in made)


def _repeats(argument: Node, call: Node, facts: PythonFacts) -> str | None:
    """ "" where the argument may be written twice; a name for it where it needs a statement."""
    text = facts.code(argument)
    calls = "(" in text and argument.type != "parenthesized_expression"
    if argument.type in PLAIN and not calls and len(text) <= SHORT and "\n" not in text:
        return ""
    statement = facts.names.statement(call)
    made = statement.named_children[0] if statement.type == "expression_statement" else None
    left = made.child_by_field_name("left") if made is not None else None
    whole = made is not None and made.child_by_field_name("right") == call
    if left is None or left.type != "identifier" or not whole or _is_member(call, argument):
        return None
    start = facts.text.rfind(b"\n", 0, statement.start_byte) + 1
    if facts.text[start : statement.start_byte].strip() or _mentions(text, left, facts):
        return None
    return facts.code(left)


def _mentions(text: str, name: Node, facts: PythonFacts) -> bool:
    return re.search(rf"\b{re.escape(facts.code(name))}\b", text) is not None


def _is_member(call: Node, argument: Node) -> bool:
    """Whether a call is `x.exp()`."""
    function = call.child_by_field_name("function")
    return function is not None and within(argument, function)
