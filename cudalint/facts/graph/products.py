"""Products of matrices: matmul, bmm, baddbmm, einsum, linear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.contraction import contract, einsum, parse_einsum, product
from cudalint.facts.graph.memory import fresh
from cudalint.facts.graph.operations import Call, handles
from cudalint.facts.graph.pool import constant, is_const
from cudalint.facts.graph.values import Slot

if TYPE_CHECKING:
    from cudalint.facts.graph.builder import Builder


@handles("matmul", "bmm", "mm")
def _matmul(b: Builder, call: Call) -> Slot | None:
    left, right = call.input, call.get(1, "other", "mat2", "tensor2")
    if left is None or right is None:
        return None
    rank = {"bmm": 3, "mm": 2}.get(call.name)
    return fresh(product(b.pool, left.value, right, call.node, rank))


@handles("baddbmm", "addmm")
def _baddbmm(b: Builder, call: Call) -> Slot | None:
    base, left = call.input, call.get(1, "batch1", "mat1")
    right = call.get(2, "batch2", "mat2")
    if base is None or left is None or right is None:
        return None
    pool = b.pool
    beta, alpha = call.keywords.get("beta"), call.keywords.get("alpha")
    made = product(pool, left, right, call.node, 3 if call.name == "baddbmm" else 2)
    if alpha is not None and not is_const(alpha.value, 1):
        made = pool.mul(made, alpha.value, call.node)
    if beta is not None and is_const(beta.value, 0):
        return fresh(made)
    given = base.value if beta is None else pool.mul(base.value, beta.value)
    return fresh(pool.add(given, made, call.node))


@handles("einsum")
def _einsum(b: Builder, call: Call) -> Slot | None:
    words = call.functional  # einops.einsum: tensors first, pattern last, tokens are words
    slots = [*call.slots[-1:], *call.slots[:-1]] if words else list(call.slots)
    if len(slots) == 2 and slots[1].value.id in b.elements:
        slots[1:] = b.elements[slots[1].value.id]
    pattern = constant(slots[0].value)
    if not isinstance(pattern, str):
        return None
    operands = tuple([slot.value for slot in slots[1:]])
    terms = parse_einsum(pattern, words)
    if terms is not None and len(operands) == 2 and len(terms) == 3:
        made = einsum(b.pool, terms, operands[0], operands[1], call.node)
        if made is not None:
            return fresh(made)
    made = b.pool.make("einsum", operands, (pattern,), call.node)
    if terms is not None and "…" not in terms[-1]:
        made.shape = (None,) * len(terms[-1])
    return fresh(made)


@handles("linear")
def _linear(b: Builder, call: Call) -> Slot | None:
    x, weight, bias = call.input, call.get(1, "weight"), call.get(2, "bias")
    if x is None or weight is None:
        return None
    made = contract(b.pool, x.value, weight, call.node)
    if bias is not None and not is_const(bias, None):
        made = b.pool.add(made, bias, call.node)
    return fresh(made)
