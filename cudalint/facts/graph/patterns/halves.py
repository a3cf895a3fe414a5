"""The two numbers of every pair that a rotation turns: how they are taken from a tensor and put back.

A pair is an element of the first half and one of the second ("half"), or two neighbours
("interleaved"), always of the last dim.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from cudalint.facts.graph.pool import constant, is_const, is_number, number
from cudalint.facts.graph.values import Value

Layout = Literal["half", "interleaved"]

_CATS = frozenset({"torch.cat", "torch.concat", "torch.concatenate"})
_VIEWS = frozenset({"view", "reshape"})


class Half(NamedTuple):
    """The numbers at one place of every pair of `x`: `place` 0 or 1.

    `sure` is false where the place of the cut is not known to be the middle.
    """

    x: Value
    layout: Layout
    place: int
    sure: bool
    passed: tuple[Value, ...]


class Joined(NamedTuple):
    """Two tensors put together as the halves, or as the neighbours, of one."""

    first: Value
    second: Value
    layout: Layout
    passed: tuple[Value, ...]


def narrowed(value: Value) -> tuple[Value, tuple[Value, ...]]:
    """A value before it was cast, and the casts."""
    passed: list[Value] = []
    while value.op == "cast":
        passed.append(value)
        value = value.operands[0]
    return value, tuple(passed)


def half_of(value: Value) -> Half | None:
    """What a value is a half of; casts are read through."""
    inner, casts = narrowed(value)
    if inner.op != "index" or len(inner.operands) < 2:
        return None
    found = _part(inner) or _slice(inner)
    return None if found is None else found._replace(passed=(*casts, inner, *found.passed))


def _part(value: Value) -> Half | None:
    """`x.chunk(2, -1)[i]`, `x.split(n, -1)[i]`, `x.view(…, -1, 2).unbind(-1)[i]`, `pairs[..., i]`."""
    parts, *indices = value.operands
    if not is_number(indices[-1]) or number(indices[-1]) not in (0, 1):
        return None
    at = int(number(indices[-1]))
    if len(indices) == 1 and parts.op == "chunk":
        return _chunk(parts, at)
    if len(indices) == 1 and parts.op == "split":
        return _split(parts, at)
    if len(indices) == 1 and parts.op == "unbind":
        pairs, dims = parts.operands[0], parts.operands[1:]
        split = _as_pairs(pairs)
        dim = number(dims[0]) if len(dims) == 1 and is_number(dims[0]) else None
        if split is not None and dim == (-1 if split[1] == "interleaved" else -2):
            return Half(split[0], split[1], at, True, (parts, *split[2]))
    if len(indices) == 2 and constant(indices[0]) is ...:
        split = _as_pairs(parts)
        if split is not None and split[1] == "interleaved":
            return Half(split[0], split[1], at, True, split[2])
    if len(indices) == 3 and constant(indices[0]) is ... and is_number(indices[1]):
        return None
    return None


def _chunk(parts: Value, at: int) -> Half | None:
    extra = [number(part) for part in parts.operands[1:] if is_number(part)]
    rank = parts.operands[0].rank
    if sorted(extra) == [-1, 2] or (rank is not None and extra == [2, rank - 1]):
        return Half(parts.operands[0], "half", at, True, (parts,))
    return None


def _split(parts: Value, at: int) -> Half | None:
    x, *extra = parts.operands
    if len(extra) != 2 or not is_const(extra[1], -1) or extra[0].op in ("tuple", "const"):
        return None
    return Half(x, "half", at, _is_middle(x, extra[0]), (parts,))


def _slice(value: Value) -> Half | None:
    """`x[..., : n // 2]`, `x[..., n // 2 :]`, `x[..., ::2]`, `x[..., 1::2]`."""
    x, *indices = value.operands
    cut = indices[-1]
    whole = all(_is_whole(index) for index in indices[:-1])
    # `x[:, :, :, ::2]` is the last dim of what has four; nothing else is taken so.
    last = constant(indices[0]) is ... or len(indices) == (x.rank or max(3, len(indices)))
    if cut.op != "slice" or not whole or not last:
        return None
    start, stop, step = cut.operands
    if is_const(step, 2) and is_const(stop, None):
        at = 0 if is_const(start, None) else number(start) if is_number(start) else None
        return Half(x, "interleaved", int(at), True, ()) if at in (0, 1) else None
    if not is_const(step, None):
        return None
    if is_const(stop, None) and not is_const(start, None):
        return Half(x, "half", 1, _is_middle(x, start), ())
    if not is_const(stop, None) and (is_const(start, None) or is_const(start, 0)):
        return Half(x, "half", 0, _is_middle(x, stop), ())
    return None


def _is_whole(index: Value) -> bool:
    """`...` or `:`."""
    if index.op == "slice":
        return all(is_const(part, None) for part in index.operands)
    return constant(index) is ...


def _is_middle(x: Value, cut: Value) -> bool:
    """Whether a cut is half of the last dim of x."""
    if cut.op != "floordiv" or not is_const(cut.operands[1], 2):
        return False
    size = cut.operands[0]
    if x.shape is not None and x.shape[-1] is size:
        return True
    if size.op != "size" or len(size.attrs) != 1 or not isinstance(size.attrs[0], int):
        return False
    last = (
        size.attrs[0] == -1
        or x.rank == size.attrs[0] + 1
        or (x.rank is None and size.attrs[0] == 3)
    )
    return last and narrowed(size.operands[0])[0] is narrowed(x)[0]


def _as_pairs(value: Value) -> tuple[Value, Layout, tuple[Value, ...]] | None:
    """`x.view(…, -1, 2)`, `x.unflatten(-1, (-1, 2))`, einops' spelling: x with its pairs apart."""
    x = value.operands[0] if value.operands else value
    last: tuple[object, ...] = ()
    if value.op in _VIEWS:
        last = tuple(_plain(size) for size in value.operands[-2:])
        if len(value.operands) < 4:
            return None
    elif value.op == "torch.unflatten" and len(value.operands) == 3:
        sizes = value.operands[2]
        if sizes.op == "tuple" and is_const(value.operands[1], -1):
            last = tuple(_plain(size) for size in sizes.operands)
    elif value.op == "einops.rearrange":
        return _einops(value, x)
    if len(last) != 2 or (last[0] == 2) == (last[1] == 2):
        return None
    return x, "interleaved" if last[1] == 2 else "half", (value,)


def _plain(size: Value) -> object:
    return constant(size) if is_number(size) else "?"


def _einops(value: Value, x: Value) -> tuple[Value, Layout, tuple[Value, ...]] | None:
    pattern = constant(value.operands[1]) if len(value.operands) == 3 else None
    if not isinstance(pattern, str) or not is_const(value.operands[2], 2) or len(value.attrs) != 1:
        return None
    source, _, target = (part.strip() for part in pattern.partition("->"))
    pair, two = target.split()[-2:], str(value.attrs[0])
    if len(pair) != 2 or not source.endswith(f"({' '.join(pair)})") or two not in pair:
        return None
    if source.removesuffix(f"({' '.join(pair)})") != target.removesuffix(" ".join(pair)):
        return None
    return x, "interleaved" if pair[1] == two else "half", (value,)


def joined(value: Value) -> Joined | None:
    """`cat((a, b), -1)`, and `stack((a, b), -1).flatten(-2)` in its spellings."""
    if value.op in _CATS:
        parts = _two(value, -1)
        return None if parts is None else Joined(*parts, "half", (value, value.operands[0]))
    stacked = _flat(value)
    if stacked is None or stacked.op != "torch.stack":
        return None
    for dim in (-1, -2):
        parts = _two(stacked, dim)
        if parts is not None:
            layout: Layout = "interleaved" if dim == -1 else "half"
            return Joined(*parts, layout, (value, stacked, stacked.operands[0]))
    return None


def stored(value: Value) -> Joined | None:
    """`out = empty_like(x); out[..., 0::2] = a; out[..., 1::2] = b`, b stored last."""
    parts: list[Value] = []
    passed: list[Value] = []
    for start in (1, 0):
        if value.op != "index_put" or len(value.operands) != 4 or value.shared:
            return None
        base, part, dots, cut = value.operands
        if constant(dots) is not ... or cut.op != "slice":
            return None
        low, high, step = cut.operands
        begins = is_const(low, start) or (not start and is_const(low, None))
        if not begins or not is_const(high, None) or not is_const(step, 2):
            return None
        parts.append(part)
        passed.append(value)
        value = base
    if value.op not in ("torch.empty_like", "torch.zeros_like") or len(value.operands) != 1:
        return None
    return Joined(parts[1], parts[0], "interleaved", (*passed, value))


def _two(value: Value, dim: int) -> tuple[Value, Value] | None:
    if len(value.operands) != 2 or not is_number(value.operands[1]):
        return None
    parts, given = value.operands[0], number(value.operands[1])
    if parts.op != "tuple" or len(parts.operands) != 2:
        return None
    first, second = parts.operands
    rank = first.rank
    # Without a known rank `cat(…, 3)` is of the last dim: attention has four.
    last = given == dim or (given == (3 if rank is None else rank - 1) and dim == -1 and given > 0)
    return (first, second) if last else None


def _flat(value: Value) -> Value | None:
    """The tensor whose last two dims a view makes one of."""
    if value.op == "torch.flatten" and len(value.operands) == 2:
        start = value.operands[1]
        # A positive dim: `flatten(3)` of what has five dims.
        return value.operands[0] if is_number(start) and number(start) in (-2, 3) else None
    if value.op == "torch.reshape_as" or (value.op in _VIEWS and _is_shape(value)):
        return value.operands[0]
    if value.op in _VIEWS and len(value.operands) == 3 and value.operands[1].op == "star":
        return value.operands[0]  # `.view(*x.shape[:-1], n)`
    if value.op == "einops.rearrange" and len(value.operands) == 2:
        source, _, target = str(constant(value.operands[1])).partition("->")
        pair = " ".join(source.split()[-2:])
        lead = source.strip().removesuffix(pair)
        return value.operands[0] if target.strip() == f"{lead}({pair})" else None
    return None


def _is_shape(value: Value) -> bool:
    """`.reshape(x.shape)`, `.view(*x.shape)`."""
    if len(value.operands) != 2:
        return False
    size = value.operands[1]
    size = size.operands[0] if size.op == "star" else size
    return size.op == "shape"


def real_pairs(value: Value) -> tuple[Value, tuple[Value, ...]] | None:
    """The complex tensor that `view_as_real(…).flatten(-2)` writes as pairs of neighbours."""
    inner, casts = narrowed(value)
    flat = _flat(inner)
    flat, more = narrowed(flat) if flat is not None else (None, ())
    if flat is None or flat.op != "torch.view_as_real":
        return None
    return flat.operands[0], (*casts, inner, *more, flat)


def complex_pairs(value: Value) -> tuple[Value, tuple[Value, ...]] | None:
    """The tensor whose neighbours `view_as_complex` reads as complex numbers."""
    if value.op != "torch.view_as_complex":
        return None
    inner, casts = narrowed(value.operands[0])
    if inner.op in ("view", "reshape", "torch.unflatten", "einops.rearrange"):
        split = _as_pairs(inner)
        if split is not None and split[1] == "interleaved":
            return split[0], (value, *casts, *split[2])
    return None
