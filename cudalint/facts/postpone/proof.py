"""What the three proofs share: the name, its scope, its mentions, and the loop that collects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cudalint.facts.flow import LOOPS, ancestors, within
from cudalint.facts.writes import writes_in_place
from cudalint.rare import Rare
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.bindings import Binding
    from cudalint.facts.names import Scope
    from cudalint.facts.python import PythonFacts
    from cudalint.facts.tensors.values import Value

_HALF = Rare(
    (b"float16", b"half", b"autocast", b"fp16", b"bf16"), rb"float16|\bhalf\b|autocast|fp16|bf16"
)
_FUNCTIONS = ("function_definition", "lambda", "class_definition")
_OPERATORS = ("binary_operator", "comparison_operator", "unary_operator")
_VIEWS = frozenset(
    {"view", "reshape", "squeeze", "unsqueeze", "detach", "flatten", "expand", "transpose", "t"}
    | {"permute", "contiguous", "to", "float", "double", "cuda", "select", "narrow", "diagonal"}
    | {"unbind", "chunk", "split", "values", "get", "pop", "__getitem__", "view_as", "expand_as"}
)
_DEPTH = 4
_WRITES = ("pattern_list", "tuple_pattern", "list_pattern", "delete_statement", "global_statement")


@record(frozen=True)
class Postponed:
    """A proof: keep the tensor at `read`, read it at `reads` and once after the loop `after`.

    `number` is the type of a sum ("float", "int"); for a name it is the cast that reads it ("item",
    "float", "int"). `keep` is what is put behind the operand: "", ".detach()" …. `after` is None
    where nothing reads the name after the loop.
    """

    kind: Literal["sum", "list", "name"]
    name: str
    number: str
    read: Node
    operand: Node
    keep: str
    reads: tuple[Node, ...] = ()
    after: Node | None = None


class Proof:
    """One read, its operand, and questions about the name that collects it."""

    def __init__(
        self, facts: PythonFacts, read: Node, operand: Node, value: Value, cast: str
    ) -> None:
        self.facts = facts
        self.read = read
        self.operand = operand
        self.value = value
        self.cast = cast

    def number(self) -> str:
        """The type of the numbers read: "float", "int", or "" where it is not known."""
        if self.cast == "float" or self.value.is_floating:
            return "float"
        return "int" if self.value.is_integer else ""

    def row(self, node: Node) -> int:
        return self.facts.source.row(node.start_byte) + 1

    def keep(self, stays: bool) -> str:
        """What keeps the tensor without its graph.

        `stays`: the tensor itself is kept for later, so that a change in place would reach it; a
        term of a sum is widened instead where the file computes in half precision.
        """
        text = self.facts.code(self.operand)
        bare = not self.value.grad or self.value.is_integer
        bare = bare or self.facts.loops.without_grad(self.read)
        keep = "" if bare or text.endswith((".detach()", ".data")) else ".detach()"
        if stays:
            return f"{keep}.clone()" if self._is_changed() else keep
        known = self.value.dtype in ("float32", "float64") or self.value.is_integer
        return keep if known or not _HALF.search(self.facts.text) else f"{keep}.float()"

    def _is_changed(self) -> bool:
        """Whether the operand's memory may be written to: it is not new, or the loop changes it."""
        if not self._is_new(self.operand, 0):
            return True
        if self.operand.type != "identifier":
            return False
        loop = next((node for node in ancestors(self.read) if node.type in LOOPS), self.facts.root)
        return any(True for _ in writes_in_place(self.facts, self.facts.code(self.operand), loop))

    def _is_new(self, node: Node, depth: int) -> bool:
        """Whether an expression makes a tensor of its own: an operation, no view, no parameter."""
        if node.type in _OPERATORS:
            return True
        if node.type == "parenthesized_expression" and len(node.named_children) == 1:
            return self._is_new(node.named_children[0], depth)
        if node.type == "call":
            function = node.children[0]
            method = self.facts.code(function.children[-1]) if function.type == "attribute" else ""
            is_view = method in _VIEWS or method.endswith("_")
            return not is_view or (method == "detach" and self._is_new(function.children[0], depth))
        if node.type != "identifier" or depth > _DEPTH:
            return False
        found = self.facts.flow.reaching(node)
        values = [b.value for b in found if b.kind in ("assign", "unpack", "walrus")]
        news = [value is not None and self._is_new(value, depth + 1) for value in values]
        return len(values) == len(found) and all(news)

    def local(self, target: Node) -> tuple[Scope, list[Binding]] | str:
        """The scope and the bindings of the collecting name, where no other code can see it."""
        name = short(self.facts, target)
        if target.type != "identifier":
            return f"`{name}` is no local name"
        found = self.facts.names.lookup(target)
        if found is None or found[0] is not self.facts.names.scope(target):
            return f"`{name}` belongs to another scope"
        hidden = self.facts.calls("locals", "exec", "eval", "globals")
        inside = (call for call in hidden if within(call, found[0].node))
        if any(call.children[0].type == "identifier" for call in inside):
            return "names may be read in ways that are not in sight"
        return found

    def mentions(self, target: Node, scope: Scope) -> list[Node] | None:
        """Every mention of the name in its scope; None where a nested function sees it too."""
        found = []
        for use in self.facts.identifiers(self.facts.code(target)):
            if _is_label(use):
                continue
            looked_up = self.facts.names.lookup(use)
            if looked_up is None or looked_up[0] is not scope:
                continue
            if any(holder.type in _FUNCTIONS for holder in up_to(use, scope.node)):
                return None
            found.append(use)
        return found

    def collector(self, target: Node, first: Node) -> Node | str:
        """The outermost loop around the read that the statement of `first` stands before."""
        name = self.facts.code(target)
        block = self.facts.names.statement(first).parent
        loops = [node for node in up_to(self.read, block) if node.type in LOOPS]
        if block is None or not within(self.read, block) or not loops:
            return f"where `{name}` starts is not in sight"
        if self.facts.loops.hot(loops[-1]) is not None:
            return f"the loop that collects in `{name}` is in hot code itself"
        return loops[-1]

    def survives_exceptions(self, mentions: list[Node], loop: Node) -> bool:
        """Whether an exception in the loop leads to no code that mentions the name."""
        for holder in ancestors(loop):
            if holder.type != "try_statement":
                continue
            body = holder.child_by_field_name("body")
            if body is not None and within(loop, body):
                later = (use for use in mentions if use.start_byte >= loop.end_byte)
                if any(not within(use, body) for use in later):
                    return False
        return True


def _is_label(use: Node) -> bool:
    """An attribute's or a keyword's name, which is no mention of the variable."""
    parent = use.parent
    if parent is None or parent.type not in ("attribute", "keyword_argument"):
        return False
    return (parent.children[0] == use) == (parent.type == "keyword_argument")


def up_to(node: Node, holder: Node | None) -> list[Node]:
    """The nodes around a node, nearest first, as far as a holder, which is left out."""
    found = []
    for at in ancestors(node):
        if holder is not None and at == holder:
            break
        found.append(at)
    return found


def short(facts: PythonFacts, node: Node) -> str:
    """An expression for a message."""
    text = facts.code(node)
    return text if len(text) <= 40 and "\n" not in text else "the value"


def is_constant(node: Node | None) -> bool:
    """A literal number."""
    if node is not None and node.type == "unary_operator" and node.named_children:
        node = node.named_children[0]
    return node is not None and node.type in ("integer", "float")


def adds_to_itself(facts: PythonFacts, node: Node) -> bool:
    """`total = total + x`."""
    if node.type != "assignment":
        return False
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if left is None or right is None or right.type != "binary_operator":
        return False
    first, operator = right.child_by_field_name("left"), right.child_by_field_name("operator")
    same = first is not None and facts.code(first) == facts.code(left)
    return same and operator is not None and facts.code(operator) == "+"


def start_of(binding: Binding) -> Node | None:
    """The expression that a binding gives to its name, through `a, b = 0, 0` as well."""
    if binding.kind == "assign":
        return binding.value
    pattern = binding.node.parent
    value = binding.value
    if binding.kind != "unpack" or pattern is None or value is None:
        return None
    if pattern.parent != binding.statement or value.type not in ("expression_list", "tuple"):
        return None
    if len(pattern.named_children) != len(value.named_children):
        return None
    pairs = zip(pattern.named_children, value.named_children, strict=True)
    return next((given for name, given in pairs if name == binding.node), None)


def mention(facts: PythonFacts, use: Node) -> str:
    """What a mention does: "reset" (to a number), "add" (to itself), "write" or "read"."""
    parent = use.parent
    if parent is None:
        return "read"
    is_left = parent.child_by_field_name("left") == use
    if parent.type == "augmented_assignment" and is_left:
        operator = parent.child_by_field_name("operator")
        return "add" if operator is not None and facts.code(operator) in ("+=", "-=") else "write"
    if parent.type == "assignment" and is_left:
        if is_constant(parent.child_by_field_name("right")):
            return "reset"
        return "add" if adds_to_itself(facts, parent) else "write"
    around = parent.parent
    if around is not None and adds_to_itself(facts, around) and parent.children[0] == use:
        left = around.child_by_field_name("left")
        return "add" if left is not None and left.text == use.text else "read"
    if parent.type in _WRITES or (parent.type == "for_statement" and is_left):
        return "write"
    return "read"
