"""Cross-entropy and negative log-likelihood in one reading: functions, local and class modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.parameters import handed, parameters
from cudalint.facts.graph.values import Graph, Value
from cudalint.facts.words import Word
from cudalint.lazy import lazy_compile
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.render import Renderer
    from cudalint.facts.python import PythonFacts

_OPTIONS = ("weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing")
# What the code of a cross-entropy cannot be without, where it is no text and no other function.
ENTROPY: tuple[Word, ...] = (
    lazy_compile(rb"ross_entropy(?<!_cross_entropy)(?!\w*[\"'])"),
    b"CrossEntropyLoss",
)
_FUNCTIONS = {"torch.cross_entropy": "cross_entropy", "torch.nll_loss": "nll_loss"}
_MODULES = {"CrossEntropyLoss": "cross_entropy", "NLLLoss": "nll_loss"}
_LITERALS = frozenset({"integer", "float", "string", "unary_operator", "none", "true", "false"})


@record(eq=False)
class Loss:
    """One loss of classes. `module`: hooks can see its call; `unread`: why an option has no text."""

    kind: str
    value: Value
    node: Node
    logits: Value
    target: Value
    options: dict[str, Value | str] = field(default_factory=dict)
    module: bool = False
    unread: str = ""
    consumed: list[Value] = field(default_factory=list)

    @property
    def of_rows(self) -> bool:
        """Whether the logits are proven to be rows × classes: by their dims, or by one of the target."""
        target = self.target
        flat = target.op in ("torch.flatten", "torch.ravel") and len(target.operands) == 1
        return self.logits.rank == 2 or target.rank == 1 or flat

    def texts(self, render: Renderer) -> list[str]:
        """The options as keywords."""
        return [
            f"{name}={given if isinstance(given, str) else render.text(given)}"
            for name, given in self.options.items()
        ]


def losses(facts: PythonFacts, graph: Graph) -> Iterator[Loss]:
    """The losses of a graph that stand in the function itself, in order of evaluation."""
    for value in graph.of(*_FUNCTIONS, "call", "module"):
        node = value.node
        if node is None or node.type != "call" or value.body != graph.function or node.has_error:
            continue
        if facts.names.arguments(node).open:
            continue
        if value.op in _FUNCTIONS:
            found = _function(value, node)
        elif value.op == "call":
            found = _instance(value, node)
        else:
            found = _module(facts, graph, value, node)
        if found is not None:
            yield found


def _function(value: Value, node: Node) -> Loss | None:
    given = parameters(value, ("input", "target", *_OPTIONS))
    return None if given is None else _made(_FUNCTIONS[value.op], value, node, given)


def _made(kind: str, value: Value, node: Node, given: dict[str, Value]) -> Loss | None:
    if "input" not in given or "target" not in given:
        return None
    options: dict[str, Value | str] = {
        name: given[name] for name in given if name not in ("input", "target")
    }
    made = Loss(kind, value, node, given["input"], given["target"], options)
    if {"size_average", "reduce"} & options.keys():
        made.unread = "`size_average` and `reduce` are gone from the fused function"
    made.consumed = [value]
    return made


def _instance(value: Value, node: Node) -> Loss | None:
    """`criterion = nn.CrossEntropyLoss(…)` and `criterion(x, y)` in one function."""
    maker = handed(value.operands[0])[-1] if value.operands else None
    kind = _MODULES.get(maker.op.removeprefix("torch.nn.")) if maker is not None else None
    if maker is None or kind is None or not maker.op.startswith("torch.nn."):
        return None
    given = parameters(value, ("input", "target"), attrs=1, operands=1)
    options = parameters(maker, _OPTIONS)
    if given is None or options is None:
        return None
    return _made(kind, value, node, {**given, **options})


def _module(facts: PythonFacts, graph: Graph, value: Value, node: Node) -> Loss | None:
    """`self.criterion(x, y)`, and a module that is made and called in one expression."""
    kind, path = _MODULES.get(str(value.attrs[0])), str(value.attrs[1])
    given = parameters(value, ("input", "target"), attrs=2) if kind is not None else None
    maker = _maker(facts, graph, path, node)
    if kind is None or given is None or maker is None:
        return None
    made = _made(kind, value, node, given)
    if made is None:
        return None
    made.module = bool(path)
    arguments = facts.names.arguments(maker)
    if arguments.open:
        made.unread = "how the loss is made is not in sight"
    for at, name in enumerate(_OPTIONS):
        option = arguments.get(name, at)
        if option is None or option.type == "none":
            continue
        if name in ("size_average", "reduce") or (path and option.type not in _LITERALS):
            made.unread = f"`{name}` is not written as a literal"
        made.options[name] = facts.code(option)
    return made


def _maker(facts: PythonFacts, graph: Graph, path: str, node: Node) -> Node | None:
    if not path:
        return node.child_by_field_name("function")
    holder = facts.graphs.classes.of(graph.function)
    if holder is None:
        return None
    modules = facts.graphs.classes.module(holder, path.removeprefix("self."))
    return modules[0].call if modules and len(modules) == 1 else None
