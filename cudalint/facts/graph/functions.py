"""Calls of imported functions and builtins, by their qualified names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph import expressions as ex
from cudalint.facts.graph import layout, tables
from cudalint.facts.graph.calling import arguments, unknown
from cudalint.facts.graph.containers import items
from cudalint.facts.graph.elementwise import negated
from cudalint.facts.graph.inline import inline
from cudalint.facts.graph.memory import forget_self, fresh, view, write
from cudalint.facts.graph.operations import Call, operate
from cudalint.facts.graph.pool import constant, is_const, is_scalar
from cudalint.facts.graph.values import Slot, Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder

_FUNCTIONAL = "torch.nn.functional."
_PREFIXES = (_FUNCTIONAL, "torch.linalg.", "torch.special.", "torch.Tensor.", "torch.")
_LINALG = {"vector_norm": "norm"}
_EINOPS = frozenset({"rearrange", "repeat", "reduce"})


def named(b: Builder, node: Node, path: str) -> Slot:
    """A call of something imported, or of a builtin."""
    if path.startswith("torch."):
        return _torch(b, node, path)
    if path.startswith("builtins."):
        return _builtin(b, node, path.removeprefix("builtins."))
    if path.startswith("math.") or path in ("numpy.sqrt", "numpy.power"):
        return math(b, node, path.rpartition(".")[2])
    module, _, name = path.rpartition(".")
    if name in _EINOPS and module.split(".")[0] == "einops":
        return _rearrange(b, node, name)
    if name == "einsum" and module.split(".")[0] in ("einops", "opt_einsum"):
        slots, keywords = arguments(b, node)
        made = operate(b, Call(node, name, slots, keywords, functional=module[0] == "e"))
        return made or pure(b, node, "einsum", slots, keywords)
    if name == "exists":
        return _exists(b, node)
    if module == "cudalint.kernels" and name.islower():
        slots, keywords = arguments(b, node)
        return pure(b, node, path, slots, keywords, unique=True)
    if path.startswith(tables.HARMLESS_MODULES) or module in ("operator",):
        slots, keywords = arguments(b, node)
        return pure(b, node, path, slots, keywords)
    return unknown(b, node, [])


def _torch(b: Builder, node: Node, path: str) -> Slot:
    kind = path.rpartition(".")[2]
    if kind[:1].isupper() and path.startswith("torch.nn."):
        slots, keywords = arguments(b, node)
        return pure(b, node, path, slots, keywords, unique=True)
    if path.startswith(tables.ACTING):
        return unknown(b, node, [])
    name = next(path.removeprefix(prefix) for prefix in _PREFIXES if path.startswith(prefix))
    slots, keywords = arguments(b, node)
    name = _LINALG.get(name, name)
    if name == "finfo" or name == "iinfo":
        return fresh(b.pool.make("finfo", tuple([s.value for s in slots]), (), node))
    written = keywords.get("out") or (slots[0] if name.endswith("_") and slots else None)
    inplace = is_const(_value(keywords.get("inplace")), True)
    plain = {key: slot for key, slot in keywords.items() if key not in ("out", "inplace")}
    made = operation(b, node, name.rstrip("_"), slots, plain, path.startswith(_FUNCTIONAL))
    if inplace and slots:
        written = slots[0]
    return made if written is None else write(b, written, made.value, b.statement)


def _value(slot: Slot | None) -> Value | None:
    return None if slot is None else slot.value


def operation(
    b: Builder,
    node: Node,
    name: str,
    slots: list[Slot],
    keywords: dict[str, Slot],
    functional: bool = False,
) -> Slot:
    made = operate(b, Call(node, name, slots, keywords, functional))
    if made is not None:
        return made
    if name in tables.VIEWS and slots:
        operands = tuple([slot.value for slot in (*slots, *keywords.values())])
        return view(b.pool.make("torch." + name, operands, tuple(keywords), node), slots[0])
    return pure(b, node, "torch." + name, slots, keywords, unique=name in tables.RANDOM)


def pure(
    b: Builder,
    node: Node,
    op: str,
    slots: list[Slot],
    keywords: dict[str, Slot],
    unique: bool = False,
) -> Slot:
    """A call that writes nothing: equal calls on equal operands are one value."""
    operands = tuple([slot.value for slot in (*slots, *keywords.values())])
    return fresh(b.pool.make(op, operands, tuple(keywords), node, unique=unique))


def _builtin(b: Builder, node: Node, name: str) -> Slot:
    if name in tables.REFLECTION:
        b.give_up(name)
    if name in tables.SELF_MUTATORS:
        forget_self(b)
    if name == "map":
        return _map(b, node)
    slots, keywords = arguments(b, node)
    if len(slots) == 1 and not keywords:
        value = slots[0].value
        if name in ("int", "float") or (name == "round" and is_scalar(value)):
            return fresh(value if is_scalar(value) else b.pool.make("number", (value,), (), node))
        if name == "len":
            return fresh(b.pool.make("len", (value,), (), node))
        if name in ("tuple", "list") and value.id in b.elements:
            return slots[0]
    if name in tables.HARMLESS:
        return pure(b, node, f"builtins.{name}", slots, keywords)
    return unknown(b, node, [], slots, keywords)


def math(b: Builder, node: Node, name: str) -> Slot:
    """`math.sqrt` and `np.sqrt` of sizes: numbers, spelled like roots of tensors."""
    slots, _keywords = arguments(b, node)
    if name not in ("sqrt", "pow", "power") or not slots:
        return fresh(b.pool.make("number", tuple([s.value for s in slots]), (name,), node))
    base = slots[0].value
    if not is_scalar(base):
        base = b.pool.make("number", (base,), ())
    if name == "sqrt":
        return fresh(b.pool.power(base, 0.5, node))
    return fresh(b.pool.raised(base, slots[1].value, node)) if len(slots) == 2 else slots[0]


def _map(b: Builder, node: Node) -> Slot:
    """`map(f, (q, k, v))`, item by item where f is a lambda or a function of this file."""
    given = node.child_by_field_name("arguments")
    parts = [child for child in given.named_children if child.type != "comment"] if given else []
    if len(parts) != 2:
        slots, _ = arguments(b, node)
        return unknown(b, node, [], slots)
    function = b.function_of(parts[0])
    source = ex.evaluate(b, parts[1])
    known = b.elements.get(source.value.id)
    if known is None and source.value.op in ("chunk", "split", "unbind"):
        known = items(b, source, 3, parts[1])
    if function is None or known is None or len(known) > 16:
        target = [] if function is not None else [ex.evaluate(b, parts[0])]
        return unknown(b, node, target, [source])
    results = [inline(b, node, function, [slot], {}) for slot in known]
    if any(result is None for result in results):
        return unknown(b, node, [], [source])
    return b.tuple_of([result for result in results if result is not None], node)


def _exists(b: Builder, node: Node) -> Slot:
    """The helper of many model files, `x is not None`, where it is imported."""
    slots, keywords = arguments(b, node)
    if len(slots) != 1 or keywords:
        return unknown(b, node, [], slots, keywords)
    made = b.pool.make("is_none", (slots[0].value,))
    return fresh(negated(b, made, node))


def _rearrange(b: Builder, node: Node, name: str) -> Slot:
    slots, keywords = arguments(b, node)
    pattern = constant(_value(slots[1])) if len(slots) > 1 else None
    if not slots or not isinstance(pattern, str) or name == "reduce":
        return pure(b, node, f"einops.{name}", slots, keywords)
    left, _, right = pattern.partition("->")
    source, target = left.split(), right.split()
    plain = not any(mark in pattern for mark in ("(", ")", ".", "1"))
    if plain and name == "rearrange" and sorted(source) == sorted(target):
        layout.assume_rank(slots[0].value, len(source))
        order = tuple([source.index(token) - len(source) for token in target])
        return view(layout.permute(b.pool, slots[0].value, order, node), slots[0])
    operands = tuple([slot.value for slot in (*slots, *keywords.values())])
    made = b.pool.make(f"einops.{name}", operands, tuple(keywords), node)
    if "..." not in right:
        layout.assume_rank(made, _axes(right))
    return view(made, slots[0])


def _axes(term: str) -> int:
    """The number of axes of an einops term: a bracket is one."""
    depth = count = 0
    for token in term.replace("(", " ( ").replace(")", " ) ").split():
        if token == "(":
            count, depth = count + (depth == 0), depth + 1
        elif token == ")":
            depth -= 1
        else:
            count += depth == 0
    return count
