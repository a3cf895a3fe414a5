"""Logits of a whole vocabulary that are made for a cross-entropy alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.candidates import aliases, attributes, within
from cudalint.facts.graph.patterns.losses import Loss, losses
from cudalint.facts.graph.patterns.others import others
from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.values import Graph, Use, Value
from cudalint.facts.words import Word
from cudalint.lazy import lazy_compile
from cudalint.rare import Rare
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

# How a projection onto a vocabulary, its weight or its width is called.
_VOCABULARY = Rare(
    (b"vocab", b"head", b"emb", b"wte", b"token", b"to_logits", b"output_projection"),
    rb"vocab|lm_?head|embed_?out|unembed|\bwte\b|tok(?:en)?s?_?emb|embed_tokens|n_?tokens?\b"
    rb"|num_tokens|to_logits|output_projection|decoder_head",
)
_LARGE = 4_096
_WIDE = lazy_compile(rb"\d[\d_]{3,}")
# An attribute, and the rows in which it is made.
_MADE = lazy_compile(rb"self\.(\w+)(?=(\s*(?::[^=\n]*)?=[^\n]*(?:\n[^\n]*){0,3}))")
_TRANSPOSED = lazy_compile(rb"weight\.(?:T\b|t\(|mT\b)")


@record(eq=False)
class Head:
    """One loss of logits that a projection makes.

    `slices` are the indexings between, from the projection up; `flat`: the rows are folded into one
    dim. `path` is the submodule, else `weight` is given. `cast`: the loss is float32 anyway.
    """

    loss: Loss
    hidden: Value
    path: str = ""
    weight: Value | None = None
    bias: Value | str | None = None
    slices: list[Value] = field(default_factory=list)
    flat: bool = False
    cast: bool = False
    softcap: Value | None = None
    sized: bool = True  # the dims are read from the file, the width of folded rows among them
    branched: bool = False  # the projection is one of two
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)


def projections(facts: PythonFacts) -> tuple[Word, ...]:
    """What the code of a projection onto a vocabulary cannot be without: its name, `F.linear`."""
    return (*_wide_layers(facts), b"linear(", *aliases(facts, b"linear"), _TRANSPOSED)


def _wide_layers(facts: PythonFacts) -> list[bytes]:
    """The calls `self.NAME(` of linear layers that are made of a vocabulary, by its name or size."""
    signs = [*_VOCABULARY.finditer(facts.text.lower()), *_WIDE.finditer(facts.text)]
    places = sorted(sign.start() for sign in signs)
    if not places:
        return []
    wide = {
        b"self." + made[1] + b"("
        for made in _MADE.finditer(facts.text)
        if within(places, made.start(), made.end(2))
    }
    return [call for call in attributes(facts, b"Linear") if call in wide]


def heads(facts: PythonFacts, graph: Graph) -> Iterator[Head]:
    """The losses whose logits nothing else uses."""
    for loss in losses(facts, graph):
        if loss.kind != "cross_entropy":
            continue
        found = _walk(loss)
        if found is None or not _project(facts, graph, found[0], found[1]):
            continue
        head, _, turned = found
        if (turned or head.hidden.rank == 2) and _is_closed(graph, head):
            yield head


def _is_closed(graph: Graph, head: Head) -> bool:
    head.reads, used = others(graph, head.loss.value, head.consumed)
    return not used


def _walk(loss: Loss) -> tuple[Head, Value, bool] | None:
    """From the loss down through views, casts and a soft cap, to the value that a projection makes.

    The last tells whether the classes are known to stand where the loss wants them.
    """
    head, value = Head(loss, loss.logits), loss.logits
    passed = list(loss.consumed)
    turned = loss.of_rows
    while True:
        inner: Value | None = value.operands[0] if value.operands else None
        if value.op in ("view", "torch.flatten") and not head.flat and _folds(value, head):
            if head.slices:
                return None  # rows were taken after they were folded
            head.flat = turned = True
        elif value.op in ("permute", "transpose") and not head.flat and value is loss.logits:
            if value.attrs not in ((-1, -2), (1, 2)) or value.rank not in (None, 3):
                return None
            head.sized, turned = value.op == "permute", True
        elif value.op == "cast" and value.attrs == ("float32",):
            head.cast = True
        elif value.op == "index" and _keeps_classes(value):
            head.slices.insert(0, value)
        elif value.op == "mul" and head.softcap is None and (capped := _capped(value)):
            inner, head.softcap, between = capped
            passed += between
        else:
            break
        passed.append(value)
        assert inner is not None  # each of these has one
        value = inner
    head.consumed = {v.id: v for v in (*passed, value)}
    return head, value, turned


def _folds(value: Value, head: Head) -> bool:
    """Whether a view leaves rows × classes, as `view(-1, n)` and `flatten(0, 1)` do."""
    if value.op == "torch.flatten":
        ends = value.operands[1:]
        return len(ends) == 2 and is_const(ends[0], 0) and is_const(ends[1], -2)
    if len(value.operands) != 3:
        return False
    width = value.operands[2]
    head.sized = width.op == "size" and width.attrs[-1] in (-1, 2)
    return not is_const(width, 1)


def _keeps_classes(value: Value) -> bool:
    """Whether an indexing is of slices, and takes all classes."""
    indices = value.operands[1:]
    inner = [at for at in indices if not is_const(at, ...)]
    if any(at.op != "slice" for at in inner):
        return False
    known = value.operands[0].rank
    if len(inner) < len(indices) or known is None:
        return len(indices) == 3 and _takes_all(indices[-1])
    return len(inner) < known or _takes_all(inner[-1])


def _takes_all(at: Value) -> bool:
    return at.op == "slice" and all(is_const(part, None) for part in at.operands)


def _capped(value: Value) -> tuple[Value, Value, list[Value]] | None:
    """`cap * tanh(x / cap)`: x, the cap, and what lies between."""
    for cap, soft in (value.operands, value.operands[::-1]):
        if soft.op != "tanh" or soft.operands[0].op != "mul":
            continue
        ratio = soft.operands[0]
        for x, inverse in (ratio.operands, ratio.operands[::-1]):
            if inverse.op == "pow" and inverse.attrs == (-1,) and inverse.operands[0] is cap:
                return x, cap, [soft, ratio]
    return None


def _project(facts: PythonFacts, graph: Graph, head: Head, value: Value) -> bool:
    """Read the projection itself; whether it is one onto a vocabulary."""
    if value.op == "phi" and not head.branched:
        head.branched = True
        head.consumed.update({arm.id: arm for arm in value.operands[1:]})
        return any(_project(facts, graph, head, arm) for arm in value.operands[1:])
    if value.op == "linear" and value.node is not None and value.body == graph.function:
        return _module(facts, graph, head, value)
    if value.op == "add":
        parts = [(a, b) for a, b in (value.operands, value.operands[::-1]) if a.op == "matmul"]
        if not parts or not _is_linear(facts, value.node):
            return False
        value, head.bias = parts[0]
        head.consumed[value.id] = value
    elif value.op != "matmul" or not _is_linear(facts, value.node):
        return False
    head.hidden, head.weight = value.operands
    return _names_vocabulary(_called(facts, head.weight))


def _is_linear(facts: PythonFacts, node: Node | None) -> bool:
    """`F.linear(h, w)`; `h @ w.T` where w is a weight by name."""
    if node is None:
        return False
    if node.type == "call":
        return facts.names.callee(node) == "torch.nn.functional.linear"
    return (
        node.type == "binary_operator"
        and re.search(r"weight(?:\.T|\.t\(\)|\.mT)$", facts.code(node)) is not None
    )


def _called(facts: PythonFacts, value: Value) -> str:
    if value.op in ("self", "input"):
        return str(value.attrs[0])
    return facts.code(value.node) if value.node is not None else ""


def _names_vocabulary(text: str) -> bool:
    return _VOCABULARY.search(text.lower().encode()) is not None


def _module(facts: PythonFacts, graph: Graph, head: Head, value: Value) -> bool:
    """`self.lm_head(h)`, a Linear of the class."""
    head.hidden, head.path = value.operands[0], str(value.attrs[0])
    holder = facts.graphs.classes.of(graph.function)
    name = head.path.removeprefix("self.")
    modules = facts.graphs.classes.module(holder, name) if holder is not None else None
    if not modules or len(modules) != 1 or not modules[0].certain:
        return False
    given = facts.names.arguments(modules[0].call)
    bias, width = given.get("bias", 2), given.get("out_features", 1)
    if bias is None or bias.type != "false":
        head.bias = f"{head.path}.bias"
    text = facts.code(width) if width is not None else ""
    large = text.replace("_", "").isdigit() and int(text) >= _LARGE
    return large or _names_vocabulary(name) or _names_vocabulary(text)
