"""Rotary embeddings: every pair of a tensor's last dim turned by an angle of its own.

The result's first numbers are `a · cos − b · sin`, its second ones `b · cos + a · sin`. Code writes it
as `x · cos + rotate_half(x) · sin`, half by half, or as a product of complex numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from cudalint.facts.graph.patterns.halves import (
    Half,
    complex_pairs,
    half_of,
    joined,
    narrowed,
    real_pairs,
    stored,
)
from cudalint.facts.graph.patterns.rotary_stages import Stage, Tables, Turn, climb, close
from cudalint.facts.graph.pool import is_const, is_number, is_scalar, number
from cudalint.facts.graph.values import Graph, Value
from cudalint.lazy import lazy_compile

_ANGLES = lazy_compile(r"freq|cis|rot|rope|polar|complex|phase|pos|emb|angle|cos", re.IGNORECASE)


class Term(NamedTuple):
    """A product with one factor set apart: its sign, the other factors, and the products passed."""

    factor: Value
    tables: tuple[Value, ...]
    sign: int
    passed: tuple[Value, ...]


def turns(graph: Graph) -> Iterator[Turn]:
    """The rotations of a graph, by the place of their results."""
    found: list[Turn] = []
    for value in graph.of(
        "add", "torch.cat", "torch.concat", "torch.concatenate", "index_put", *_FLAT
    ):
        made = _whole(value) if value.op == "add" else _by_halves(value) or _by_complex(value)
        if made is not None and not _is_number(made.tables):
            climb(graph, made)
            close(graph, made)
            found.append(made)
    yield from found


_FLAT = ("torch.flatten", "reshape", "view", "torch.reshape_as", "einops.rearrange")


def _is_number(tables: Tables) -> bool:
    return all(is_scalar(v) for v in tables.cos) or all(is_scalar(v) for v in tables.sin)


def _terms(value: Value, depth: int = 5) -> Iterator[Term]:
    """The ways to set one factor of a product apart; what it is multiplied by stays as it is."""
    yield Term(value, (), 1, ())
    if value.op != "mul" or depth == 0:
        return
    for one, other in (value.operands, value.operands[::-1]):
        sign, table = _signed(other)
        more = () if table is None else (table,)
        for term in _terms(one, depth - 1):
            yield Term(term.factor, (*term.tables, *more), term.sign * sign, (*term.passed, value))


def _signed(value: Value) -> tuple[int, Value | None]:
    """A value without its minus; None for 1."""
    if is_number(value) and number(value) in (1, -1):
        return int(number(value)), None
    for one, other in (value.operands, value.operands[::-1]) if value.op == "mul" else ():
        if is_const(other, -1):
            sign, inner = _signed(one)
            return -sign, inner
    return 1, value


def _whole(value: Value) -> Turn | None:
    """`x * cos + rotate(x) * sin`."""
    for plain, turned in (value.operands, value.operands[::-1]):
        for sine in _terms(turned):
            found = _rotated(sine.factor) if sine.tables else None
            if found is not None:
                made = _beside(value, plain, sine, *found)
                if made is not None:
                    return made
    return None


def _beside(
    value: Value, plain: Value, sine: Term, half: Half, sign: int, passed: tuple[Value, ...]
) -> Turn | None:
    """The turn of the tensor whose rotation a term holds, where the other term is it times cos."""
    base, more = narrowed(half.x)
    for cosine in _terms(plain):
        inner, casts = narrowed(cosine.factor)
        if inner is base and cosine.tables and cosine.sign == 1:
            tables = Tables(cosine.tables, sine.tables, "full", sign * sine.sign < 0)
            core = (value, *cosine.passed, *sine.passed, *passed)
            made = _turn(value, base, half, tables, core, (*casts, *more))
            made.wide = cosine.factor if cosine.factor is half.x else None
            return made
    return None


def _rotated(value: Value) -> tuple[Half, int, tuple[Value, ...]] | None:
    """`cat((−b, a))`, and −1 for `cat((b, −a))`."""
    inner, casts = narrowed(value)
    put = joined(inner)
    if put is None:
        return None
    signs = [_signed(part) for part in (put.first, put.second)]
    halves = [half_of(part) if part is not None else None for _, part in signs]
    second, first = halves
    if first is None or second is None or first.x is not second.x:
        return None
    if (first.place, second.place) != (0, 1) or first.layout != put.layout:
        return None
    if second.layout != first.layout or signs[0][0] == signs[1][0]:
        return None
    negated = (part for part in (put.first, put.second) if part.op == "mul")
    passed = (*casts, *put.passed, *negated, *first.passed, *second.passed)
    return first._replace(sure=first.sure and second.sure), signs[1][0], passed


def _by_halves(value: Value) -> Turn | None:
    """`cat((a * cos - b * sin, b * cos + a * sin))`."""
    put = stored(value) if value.op == "index_put" else joined(value)
    if put is None:
        return None
    sums = [narrowed(part) for part in (put.first, put.second)]
    if any(total.op != "add" for total, _ in sums):
        return None
    read = [[_of_half(operand) for operand in total.operands] for total, _ in sums]
    flat = [term for terms in read for term in terms]
    if any(term is None for term in flat):
        return None
    found = {(row, term[0].place): term for row in (0, 1) for term in read[row] if term is not None}
    if len(found) != 4:
        return None
    a, b, c, d = (found[key] for key in ((0, 0), (0, 1), (1, 1), (1, 0)))
    halves = [term[0] for term in (a, b, c, d)]
    alike = all(h.x is halves[0].x and h.layout == halves[0].layout for h in halves)
    same = _same(a[1], c[1]) and _same(b[1], d[1])
    if not alike or not same or a[2] != 1 or c[2] != 1 or b[2] == d[2]:
        return None
    tables = Tables(a[1], b[1], "half", b[2] > 0)
    passed = (part for term in (a, b, c, d) for part in (*term[0].passed, *term[3]))
    casts = [cast for _, inner in sums for cast in inner]
    core = (value, *put.passed, *(total for total, _ in sums), *casts, *passed)
    base, more = narrowed(halves[0].x)
    inside = tuple(v for h in halves for v in h.passed if v.op == "cast")
    whole = halves[0]._replace(sure=all(half.sure for half in halves))
    made = _turn(value, base, whole, tables, core, (*more, *inside))
    made.wide = halves[0].x if not inside else None
    if value.op == "index_put":
        made.stages[0] = made.stages[0]._replace(like=put.passed[-1].operands[0])
    made.reordered = put.layout != halves[0].layout
    return made


def _same(one: tuple[Value, ...], two: tuple[Value, ...]) -> bool:
    return sorted(v.id for v in one) == sorted(v.id for v in two)


def _of_half(value: Value) -> tuple[Half, tuple[Value, ...], int, tuple[Value, ...]] | None:
    """A half times tables: the half, the tables, the sign, the products."""
    inner, casts = narrowed(value)
    for term in _terms(inner):
        half = half_of(term.factor) if term.tables else None
        if half is not None:
            return half, term.tables, term.sign, (*casts, *term.passed)
    return None


def _by_complex(value: Value) -> Turn | None:
    """`view_as_real(view_as_complex(pairs) * freqs_cis).flatten(-2)`."""
    real = real_pairs(value) if value.op != "cast" else None
    if real is None or real[0].op != "mul":
        return None
    product, passed = real
    for x, angles in (product.operands, product.operands[::-1]):
        pairs = complex_pairs(x)
        if pairs is not None and complex_pairs(angles) is None and _speaks_of_angles(angles):
            base, casts = narrowed(pairs[0])
            inner = tuple(v for v in (*casts, *pairs[1]) if v.op == "cast")
            half = Half(base, "interleaved", 0, True, ())
            tables = Tables((angles,), (angles,), "complex", False)
            made = _turn(value, base, half, tables, (*passed, product, *pairs[1], *casts), inner)
            made.wide = pairs[0]
            return made
    return None


def _speaks_of_angles(value: Value) -> bool:
    """By its name: a complex factor may as well be a filter."""
    if value.op == "torch.polar":
        return True
    texts = [str(value.attrs[0]) if value.op in ("input", "self", "global") else ""]
    texts += [(value.node.text or b"").decode("utf-8", "replace")] if value.node is not None else []
    inner = value.operands[0] if value.operands and value.op != "mul" else None
    if inner is not None and inner.op in ("input", "self", "global", "index"):
        texts.append(str(inner.attrs[0]) if inner.attrs else "")
    return any(_ANGLES.search(text) for text in texts)


def _turn(
    result: Value,
    x: Value,
    half: Half,
    tables: Tables,
    core: tuple[Value, ...],
    casts: tuple[Value, ...],
) -> Turn:
    made = Turn(x, half.layout, tables, [Stage(result, x, None, ())], {v.id: v for v in core})
    made.casts = tuple({cast.id: cast for cast in casts}.values())
    made.sure = half.sure
    made.core.update({cast.id: cast for cast in made.casts})
    return made
