"""Calls of torch submodules: `self.attn_drop(x)` is a dropout, as `F.dropout` is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.calling import unknown
from cudalint.facts.graph.memory import fresh, view
from cudalint.facts.graph.operations import HANDLERS, Call, dims_of, operate
from cudalint.facts.graph.values import Slot

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder
    from cudalint.facts.graph.classes import Module

_ACTIVATIONS = {
    "ReLU": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "SiLU": "silu",
    "ELU": "elu",
    "LeakyReLU": "leaky_relu",
    "Softplus": "softplus",
    "LogSigmoid": "logsigmoid",
    "Mish": "mish",
    "ReLU6": "relu6",
}
_LINEAR = frozenset({"Linear", "LazyLinear"})


def run(
    b: Builder,
    node: Node,
    modules: list[Module],
    slots: list[Slot],
    path: str,
    keywords: dict[str, Slot] | None = None,
) -> Slot:
    """The value of calling torch modules in turn; `path` is how the source names the first."""
    if not slots or keywords or len(slots) > 1:
        if len(modules) != 1 or not (slots or keywords):
            return unknown(b, node, [], slots, keywords)
        return _other(b, node, modules[0], slots, keywords or {}, path)
    slot = slots[0]
    for at, module in enumerate(modules):
        inner = path if len(modules) == 1 else f"{path}[{at}]"
        slot = _run(b, node, module, slot, inner)
    return slot


def _run(b: Builder, node: Node, module: Module, slot: Slot, path: str) -> Slot:
    kind, x, pool = module.kind, slot.value, b.pool
    if kind == "Identity":
        return view(x, slot)
    if kind in ("Softmax", "LogSoftmax"):
        made = _softmax(b, node, module, slot)
    elif kind == "Dropout":
        made = fresh(pool.make("dropout", (x,), ("module", path, _p(b, module)), node))
    elif kind in _LINEAR:
        made = fresh(pool.make("linear", (x,), (path,), node))
        made.value.shape = x.shape and (*x.shape[:-1], None)
        made.value.module = True
        return made
    elif kind in _ACTIVATIONS:
        made = fresh(pool.make(_ACTIVATIONS[kind], (x,), (), node))
    elif kind in ("GELU erf", "GELU tanh"):
        made = fresh(pool.make("gelu", (x,), ("tanh",) if kind == "GELU tanh" else (), node))
    elif kind == "GELU":
        given = b.facts.names.arguments(module.call).get("approximate", 0)
        extra = () if given is None else (b.facts.code(given).strip("\"'"),)
        made = fresh(pool.make("gelu", (x,), extra, node))
    else:
        made = fresh(pool.make("module", (x,), (kind, path), node))
        made.value.shape = x.shape if kind in ("LayerNorm", "RMSNorm") else None
        made.value.module = True
        return made
    made.value.module = True
    made.value.shape = made.value.shape or x.shape
    return made


def _softmax(b: Builder, node: Node, module: Module, slot: Slot) -> Slot:
    """`nn.Softmax(dim)`; without a dim torch guesses one, which is not the last."""
    given = b.facts.names.arguments(module.call)
    dim = given.get("dim", 0)
    name = "softmax" if module.kind == "Softmax" else "log_softmax"
    slots = [slot] if dim is None else [slot, b.scratch(dim)]
    made = HANDLERS[name](b, Call(node, name, slots, {}))
    assert made is not None  # the handler only refuses a call without operands
    return made


def _p(b: Builder, module: Module) -> object:
    """The probability of a dropout module: a number, or the source of what it is."""
    given = b.facts.names.arguments(module.call)
    p = given.get("p", 0)
    if p is None:
        return 0.5 if module.certain else "?"
    if p.type in ("float", "integer"):
        return float(b.facts.code(p).replace("_", ""))
    return b.facts.code(p) if module.certain else "?"


def _other(
    b: Builder,
    node: Node,
    module: Module,
    slots: list[Slot],
    keywords: dict[str, Slot],
    path: str,
) -> Slot:
    """A torch module with several inputs: it writes none of them."""
    operands = tuple([slot.value for slot in (*slots, *keywords.values())])
    made = b.pool.make("module", operands, (module.kind, path, *keywords), node, unique=True)
    made.module = True
    return fresh(made)


__all__ = ["dims_of", "operate", "run"]
