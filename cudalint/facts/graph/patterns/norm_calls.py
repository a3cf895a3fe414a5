"""Norms however they are written: by hand, as torch's functions and modules, as classes of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from cudalint.facts.graph.classes import class_named
from cudalint.facts.graph.patterns.norm_parts import HandNorm, narrow
from cudalint.facts.graph.patterns.norms import layer_norms, rms_norms
from cudalint.facts.graph.patterns.parameters import parameters
from cudalint.facts.graph.pool import constant, is_const
from cudalint.facts.graph.tables import NORM_CLASS
from cudalint.facts.graph.values import Graph, Use, Value
from cudalint.lazy import lazy_compile
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

Kind = Literal["layer", "rms"]
Term = Value | str | None  # a value, or the text that stands for it wherever `self` does

# (kind, the names of its parameters in order)
_FUNCTIONS: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "torch.layer_norm": ("layer", ("input", "normalized_shape", "weight", "bias", "eps")),
    "torch.rms_norm": ("rms", ("input", "normalized_shape", "weight", "eps")),
    "cudalint.kernels.layer_norm": ("layer", ("x", "weight", "bias", "eps")),
    "cudalint.kernels.rms_norm": ("rms", ("x", "weight", "eps", "cast", "weight_offset")),
}
# Classes of libraries that keep the parameters and the arguments of torch's.
_LIBRARY: dict[str, Kind] = {
    "normalization.FP32LayerNorm": "layer",
    "normalization.RMSNorm": "rms",
}
# A `forward` that casts, and leaves the rest to torch's class.
_INHERITED = lazy_compile(
    r"return super\([\w, ]*\)\.forward\(\w+(?:\.float\(\)|\.to\(torch\.float32\))?\)"
    r"(?:\.type_as\(\w+\)|\.to\([\w.]*dtype\))?\s*$"
)


@record(eq=False)
class Norm:
    """One norm over the last dim. `why`: what keeps a fix from writing it in another form.

    `literal`: its operands are read from this function, so that no hook and no other class can
    make it something else.
    """

    kind: Kind
    result: Value
    x: Value
    weight: Term = None
    bias: Term = None
    eps: Term = None
    cast: str = "late"
    offset: float = 0.0
    literal: bool = False
    why: str | None = None
    hand: HandNorm | None = None
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)


def norms_of(facts: PythonFacts, graph: Graph) -> Iterator[Norm]:
    """The norms of a graph, by hand first."""
    for hand in (*rms_norms(graph), *layer_norms(graph)):
        yield _of_hand(hand)
    yield from _functions(graph)
    for value in graph.of("module"):
        if value.attrs[0] in ("LayerNorm", "RMSNorm") and len(value.operands) == 1:
            yield _of_module(facts, graph, value)
    for value in graph.of("call"):
        found = _of_class(facts, graph, value)
        if found is not None:
            yield found


def _of_hand(hand: HandNorm) -> Norm:
    norm = Norm(
        "layer" if hand.centred else "rms",
        hand.result,
        hand.x,
        hand.weight,
        hand.bias,
        hand.eps if hand.eps is not None else "0.0",
        "late" if hand.cast == "late" or hand.offset else "llama",
        hand.offset,
        hand=hand,
        consumed=dict(hand.consumed),
        reads=list(hand.reads),
    )
    norm.literal = hand.weight is None and hand.bias is None
    if hand.used:
        norm.why = "an intermediate value is used elsewhere"
    elif hand.optional is not None:
        norm.why = "the weight is under a condition"
    elif (hand.weight_cast and hand.cast != "late") or (hand.rounded and hand.offset):
        norm.why = "the weight is cast"
    return norm


def _of_function(value: Value, kind: Kind, names: tuple[str, ...]) -> Norm | None:
    given = parameters(value, names)
    x = None if given is None else given.get(names[0])
    if given is None or x is None:
        return None
    norm = Norm(kind, value, x, given.get("weight"), given.get("bias"), given.get("eps"))
    norm.consumed, norm.literal = {value.id: value}, True
    if norm.eps is None:
        norm.eps = "1e-5" if kind == "layer" else "1e-6"
        if value.op == "torch.rms_norm":
            norm.why = "its epsilon is that of the dtype"
    if "normalized_shape" in given:
        _check_shape(norm, given["normalized_shape"])
    elif value.op.startswith("torch."):
        norm.why = "the normalized shape may have several dims"
    elif kind == "rms":
        norm.cast = str(constant(given["cast"])) if "cast" in given else "llama"
        offset = constant(given.get("weight_offset"))
        norm.offset = float(offset) if isinstance(offset, int | float) else 0.0
    return norm


def _functions(graph: Graph) -> Iterator[Norm]:
    for name, (kind, names) in _FUNCTIONS.items():
        for value in graph.of(name):
            found = _of_function(value, kind, names)
            if found is not None:
                yield found


def _check_shape(norm: Norm, shape: Value) -> None:
    """Whether a normalized shape is the last dim alone; an attribute is, in nearly all programs."""
    if shape.op == "tuple" and len(shape.operands) == 1:
        return
    if shape.op == "shape_part":
        part = shape.operands[1]
        if part.op == "slice" and is_const(part.operands[0], -1):
            return
    norm.literal = False
    if not (shape.op in ("self", "shape") or (shape.op == "attr" and shape.attrs == ("shape",))):
        norm.why = "the normalized shape may have several dims"


def _of_module(facts: PythonFacts, graph: Graph, value: Value) -> Norm:
    name, path = str(value.attrs[0]), str(value.attrs[1])
    kind: Kind = "layer" if name == "LayerNorm" else "rms"
    holder = facts.graphs.classes.of(graph.function)
    found = facts.graphs.classes.module(holder, path[5:]) if holder is not None else None
    known = path.startswith("self.") and found is not None and len(found) == 1
    norm = _as_module(facts, kind, value, path, found[0].call if known and found else None)
    if known and found and not found[0].certain:
        norm.why = "the norm may be an Identity"
    return norm


def _as_module(facts: PythonFacts, kind: Kind, value: Value, path: str, made: Node | None) -> Norm:
    """A call of a module with the parameters of torch's class, which are read of it."""
    norm = Norm(kind, value, value.operands[-1], f"{path}.weight", None, f"{path}.eps")
    norm.consumed = {value.id: value}
    if made is None:
        norm.why = "the module that makes it is not known"
        return norm
    given = facts.names.arguments(made)
    affine, biased = given.get("elementwise_affine", 2), given.get("bias", 3)
    if kind == "layer" and (biased is None or biased.type != "false"):
        norm.bias = f"{path}.bias"
    if affine is not None and affine.type == "false":
        norm.weight = norm.bias = None
    shape, eps = given.get("normalized_shape", 0), given.get("eps", 1)
    if shape is not None and shape.type in ("list", "tuple") and shape.named_child_count != 1:
        norm.why = "it normalizes several dims"
    elif kind == "rms" and (eps is None or eps.type == "none"):
        norm.why = "its epsilon is that of the dtype"
    elif kind == "rms" and biased is not None:
        norm.why = "it may have a bias"
    return norm


def _of_class(facts: PythonFacts, graph: Graph, value: Value) -> Norm | None:
    """`self.norm(x)` of a class of this file whose `forward` is a norm, or that is called one."""
    name = str(value.attrs[0]) if len(value.attrs) == 1 else ""
    holder = facts.graphs.classes.of(graph.function)
    if not name.startswith("self.") or len(value.operands) != 2 or holder is None:
        return None
    made = holder.assigned(name[5:])
    called = made.child_by_field_name("function") if made is not None else None
    if made is None or made.type != "call" or called is None:
        return None
    definition = facts.names.definition(called) if called.type == "identifier" else None
    if definition is None or definition.type != "class_definition":
        return _foreign(facts, made, called, value, name)
    kind = _inherits(facts, definition)
    if kind is not None:
        return _as_module(facts, kind, value, name, made)
    inner = norm_of_class(facts, definition)
    return None if inner is None else _called(facts, inner, value, name)


def _foreign(facts: PythonFacts, made: Node, called: Node, value: Value, path: str) -> Norm | None:
    """A class of another file, or an argument's default: reported by its name.

    It is read where it is a library's.
    """
    text = class_named(facts, called)
    match = NORM_CLASS.search(text)
    if match is None:
        return None
    known = ".".join((facts.names.qualified(called) or "").split(".")[-2:])
    if known in _LIBRARY:
        return _as_module(facts, _LIBRARY[known], value, path, made)
    kind: Kind = "layer" if match.group(1) == "Layer" else "rms"
    chosen = text != facts.code(called)
    why = "the norm's class is an argument" if chosen else f"`{text}` is not of this file"
    return Norm(kind, value, value.operands[1], why=why, consumed={value.id: value})


def _inherits(facts: PythonFacts, definition: Node) -> Kind | None:
    """Whether a class is torch's with another `forward` at most, that only casts."""
    given = definition.child_by_field_name("superclasses")
    bases = [facts.names.qualified(base) for base in given.named_children] if given else []
    kinds: dict[str, Kind] = {"torch.nn.LayerNorm": "layer", "torch.nn.RMSNorm": "rms"}
    kind = kinds.get(bases[0] or "") if len(bases) == 1 else None
    forward = facts.names.method(definition, "forward")
    if kind is None or forward is None:
        return kind if "def forward" not in facts.code(definition) else None
    body = forward.child_by_field_name("body")
    last = facts.code(body.named_children[-1]) if body is not None else ""
    return kind if _INHERITED.match(last) else None


def norm_of_class(facts: PythonFacts, definition: Node) -> Norm | None:
    """The norm that a class's `forward` returns of its first parameter, and nothing else."""
    classes = facts.graphs.classes
    forward = classes.method(classes.get(definition), "forward")
    if forward is None:
        return None
    graph = facts.graphs.of(forward)
    hands = [_of_hand(hand) for hand in (*rms_norms(graph), *layer_norms(graph))]
    for norm in (*hands, *_functions(graph)):
        if narrow(norm.x).op != "input" or not _is_returned(graph, norm):
            continue
        wide = norm.hand.upcast and norm.hand.back is None if norm.hand else norm.x.op == "cast"
        if wide and graph.uses(norm.result)[0].user is None:
            norm.why = norm.why or "the result stays in float32"
        return norm
    return None


def _is_returned(graph: Graph, norm: Norm) -> bool:
    """Whether a norm, cast back to the dtype of its input at most, is what a function returns."""
    at = norm.result
    uses = graph.uses(at)
    if len(uses) == 1 and uses[0].user is not None and uses[0].user.op == "cast":
        at = uses[0].user
        owner = at.operands[-1].operands[:1] if len(at.operands) == 2 else ()
        if not owner or narrow(owner[0]) is not narrow(norm.x):
            return False
        uses = graph.uses(at)
    return [use.kind for use in uses] == ["return"]


def _called(facts: PythonFacts, inner: Norm, value: Value, path: str) -> Norm:
    """The norm of a class as a call of it: what its `forward` reads of `self` is read of it."""
    norm = Norm(inner.kind, value, value.operands[1], cast=inner.cast, offset=inner.offset)
    norm.consumed, norm.why = {value.id: value}, inner.why
    terms = [_read_of(facts, term, path) for term in (inner.weight, inner.bias, inner.eps)]
    norm.weight, norm.bias, norm.eps = terms
    if any(term == "" for term in terms):
        norm.why = norm.why or "its class computes its parameters"
    return norm


def _read_of(facts: PythonFacts, term: Term, path: str) -> str | None:
    """The text of a parameter outside of its class; empty: it has none."""
    if not isinstance(term, Value):
        return term
    term = term.operands[0] if term.op == "cast" else term
    if term.op == "self":
        return f"{path}.{term.attrs[0]}"
    if term.op == "const" and term.node is not None:
        return facts.code(term.node)
    return ""
