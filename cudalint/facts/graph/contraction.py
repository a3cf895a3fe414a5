"""Products of matrices in one spelling: `matmul(a, b)` contracts the last dims of both.

So `q @ k.transpose(-2, -1)`, `torch.bmm(q, k.mT)` and `einsum("bhid,bhjd->bhij", q, k)` are the
one value `matmul(q, k)`, and `p @ v` is `matmul(p, v transposed)`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from cudalint.facts.graph.layout import assume_rank, inverse, permute, transposed
from cudalint.facts.graph.pool import Pool
from cudalint.facts.graph.values import Shape, Value

if TYPE_CHECKING:
    from tree_sitter import Node

ELLIPSIS = "…"


def contract(pool: Pool, a: Value, b: Value, node: Node | None) -> Value:
    """`a · bᵀ` over the last dims of both."""
    made = pool.make("matmul", (a, b), (), node)
    if made.shape is None and a.shape and b.shape and len(a.shape) > 1 and len(b.shape) > 1:
        wide: Shape = a.shape if len(a.shape) >= len(b.shape) else b.shape
        made.shape = (*wide[:-2], a.shape[-2], b.shape[-2])
    return made


def product(pool: Pool, a: Value, b: Value, node: Node | None, rank: int | None = None) -> Value:
    """`a @ b`; `rank` is what the function called demands (bmm 3, mm 2)."""
    for operand in (a, b) if rank is not None else ():
        assume_rank(operand, rank or 0)
    if b.rank == 1:
        return pool.make("matvec", (a, b), (), node)
    return contract(pool, a, transposed(pool, b), node)


def einsum(
    pool: Pool, terms: tuple[list[str], ...], a: Value, b: Value, node: Node
) -> Value | None:
    """A two-operand einsum as a matmul over permuted operands; None where it is none."""
    left, right, out = terms
    if any(len(set(term)) != len(term) for term in terms) or ELLIPSIS in left[1:] + right[1:]:
        return None
    joined = _joined(terms)
    if joined is not None:
        return _over_joined(pool, terms, joined, (a, b), node)
    summed = [token for token in left if token in right and token not in out]
    rows = [token for token in out if token in left and token not in right]
    columns = [token for token in out if token in right and token not in left]
    if len(summed) != 1 or not rows or not columns or set(out) - set(left) - set(right):
        return None
    if (set(left) | set(right)) - set(out) - set(summed):
        return None
    row, column = rows[-1], columns[-1]
    batch = [token for token in out if token not in (row, column)]
    if not {row, column} <= set(out) or (ELLIPSIS in out and ELLIPSIS not in batch[:1]):
        return None
    for term, operand in ((left, a), (right, b)):
        if ELLIPSIS not in term:
            assume_rank(operand, len(term))
    a = _arranged(pool, a, left, [*batch, row, summed[0]])
    b = _arranged(pool, b, right, [*batch, column, summed[0]])
    made = contract(pool, a, b, None if out[-2:] != [row, column] else node)
    order = [*batch, row, column]
    return permute(pool, made, _order(order, out), node)


def _joined(terms: tuple[list[str], ...]) -> list[tuple[str, str]] | None:
    """The pairs of tokens that stand side by side wherever they stand: rows and columns of images.

    Only of products over a common batch that are of matrices when each pair is one dim, and only
    where two of their dims are pairs: with one, the first of it may as well be heads.
    """
    left, right, out = terms
    shared = [token for token in left if token in right and token in out]
    if not shared or ELLIPSIS in (*left, *right, *out):
        return None
    kinds = ((left, right), (left, out), (right, out))
    only = [[t for t in one if t in two and t not in shared] for one, two in kinds]
    pairs = [(tokens[0], tokens[1]) for tokens in only if len(tokens) == 2]
    if not all(only) or len(pairs) < 2 or max(map(len, only)) > 2:
        return None
    held = [(term, pair) for term in terms for pair in pairs if pair[0] in term]
    if any(term.index(pair[1]) != term.index(pair[0]) + 1 for term, pair in held):
        return None
    return pairs if {*left, *right, *out} == {*shared, *chain.from_iterable(only)} else None


def _over_joined(
    pool: Pool,
    terms: tuple[list[str], ...],
    pairs: list[tuple[str, str]],
    operands: tuple[Value, Value],
    node: Node,
) -> Value | None:
    """The einsum over operands whose pairs of dims are one, its result as the einsum has it."""
    sizes: dict[str, Value] = {}
    flat: list[Value] = []
    for term, operand in zip(terms, operands, strict=False):
        assume_rank(operand, len(term))
        shape = operand.shape or ()
        for at, (token, size) in enumerate(zip(term, shape, strict=False)):
            asked = pool.make("size", (operand,), (at - len(term),)) if size is None else size
            sizes.setdefault(token, asked)
        for at in sorted(term.index(first) - len(term) for first, _ in pairs if first in term):
            dims = (pool.const(at), pool.const(at + 1))
            operand = pool.make("torch.flatten", (operand, *dims))
        flat.append(operand)
    left, right, out = ([t for t in term if t not in {b for _, b in pairs}] for term in terms)
    made = einsum(pool, (left, right, out), flat[0], flat[1], node)
    if made is None:
        return None
    whole = pool.make("view", (made, *(sizes[token] for token in terms[2])), (), node)
    whole.shape = tuple([sizes[token] for token in terms[2]])
    return whole


def _arranged(pool: Pool, value: Value, term: list[str], wanted: list[str]) -> Value:
    """Permute an operand to the wanted order, with dims of one for what it lacks."""
    have = [token for token in wanted if token in term]
    value = permute(pool, value, _order(term, have))
    for at, token in enumerate(wanted):
        if token not in term and token != ELLIPSIS:
            if all(other not in term for other in wanted[:at]):
                continue  # a leading dim is broadcast anyway
            value = pool.make("unsqueeze", (value,), (at - len(wanted),))
    return value


def _order(source: list[str], wanted: list[str]) -> tuple[int, ...]:
    return tuple([source.index(token) - len(source) for token in wanted if token != ELLIPSIS])


def parse_einsum(pattern: str, words: bool) -> tuple[list[str], ...] | None:
    """The terms of `ab,bc->ac`; with `words` tokens are separated by blanks, as einops has it."""
    inputs, arrow, output = pattern.partition("->")
    if not arrow:
        return None
    terms = [*inputs.split(","), output]
    found = tuple([_tokens(term.replace("...", f" {ELLIPSIS} "), words) for term in terms])
    return found if all(found) else None


def _tokens(term: str, words: bool) -> list[str]:
    if words:
        return term.split()
    return [letter for letter in term if not letter.isspace()]


__all__ = ["contract", "einsum", "inverse", "parse_einsum", "product"]
