"""Attention to a cache in Triton's interpreter, whole and paged: run by test_interpreter.py.

The interpreter truncates where bfloat16 should round, hence one more bit of tolerance there.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from cudalint.kernels import KVCache, PagedKVCache
from cudalint.kernels._decode import append, append_launch, launches, registration
from cudalint.kernels._decode.launches import Form
from tests.kernels.inputs import DTYPES, guarded_empty, poisoned_empty

PLAIN = Form(None, None, -1)
TOLERANCE = {torch.float32: 3e-6, torch.float16: 2e-3, torch.bfloat16: 2**-6}


class Shape(NamedTuple):
    heads: int = 2
    kv_heads: int = 1
    tokens: int = 1
    width: int = 16
    value_width: int = 16
    places: int = 150


def operands(
    shape: Shape, lengths: list[int], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, v as callers hold them: heads behind tokens, rows that are not packed."""
    rows = len(lengths)
    q = torch.randn(rows, shape.tokens, shape.heads, shape.width).to(dtype).transpose(1, 2)
    k = torch.randn(rows, shape.places, shape.kv_heads, shape.width + 8).to(dtype).transpose(1, 2)
    v = torch.randn(rows, shape.kv_heads, shape.places, shape.value_width).to(dtype)
    return q, k[..., : shape.width], v, torch.tensor(lengths, dtype=torch.int32)


def in_pages(k: Tensor, v: Tensor, lengths: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same places in shuffled pages; NaN where none is, nonsense in the table's unused part."""
    rows, most = k.shape[0], -(-k.shape[2] // size)
    table = torch.randperm(rows * most + 2)[: rows * most].view(rows, most)
    pools = []
    for cache in (k, v):
        pool = torch.full((rows * most + 2, cache.shape[1], size, cache.shape[3]), torch.nan)
        pool = pool.to(cache.dtype)
        for row, length in enumerate(lengths.tolist()):
            for place in range(length):
                at = int(table[row, place // size]), slice(None), place % size
                pool[at] = cache[row, :, place]
        pools.append(pool)
    for row, length in enumerate(lengths.tolist()):
        table[row, -(-length // size) :] = 10**6
    return pools[0], pools[1], table


def fair(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, form: Form) -> Tensor:
    arguments = (q.float(), k.float(), v.float(), None, lengths, *form)
    return registration.run_reference(*arguments).to(q.dtype)


def close(ours: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[ours.dtype]
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def check(
    shape: Shape,
    lengths: list[int],
    dtype: torch.dtype = torch.float32,
    form: Form = PLAIN,
    pages: tuple[int, ...] = (16,),
) -> None:
    q, k, v, n = operands(shape, lengths, dtype)
    expected = fair(q, k, v, n, form)
    for row, length in enumerate(lengths):  # what lies behind a length is not read
        k[row, :, length:], v[row, :, length:] = torch.nan, torch.nan
    before = [t.clone() for t in (q, k, v, n)]
    with poisoned_empty():
        close(launches.attend(q, k, v, None, n, form), expected)
        for size in pages:
            pools = in_pages(k, v, n, size)
            close(launches.attend(q, *pools, n.long(), form), expected)
    for a, b in zip((q, k, v, n), before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares so small that a short cache makes several."""
    monkeypatch.setattr(launches, "FEWEST", 64)
    monkeypatch.setattr(launches, "SHORT", 64)
    monkeypatch.setattr(launches, "_known", {})


@pytest.mark.parametrize(("width", "dtype"), [*product((40, 96, 256), DTYPES), (64, DTYPES[0])])
def test_widths(width: int, dtype: torch.dtype) -> None:
    check(Shape(width=width, value_width=width), [150, 0], dtype)


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (3, 3), (8, 1), (48, 2)])
@pytest.mark.parametrize("tokens", [1, 2])
def test_groups_and_tokens(heads: int, kv_heads: int, tokens: int) -> None:
    check(Shape(heads, kv_heads, tokens, places=80), [80, 1], torch.float16)


@pytest.mark.parametrize("form", [Form(0.3, 2.0, -1), Form(None, None, 5), Form(None, 1.0, 128)])
@pytest.mark.parametrize(("tokens", "dtype"), [(1, torch.float16), (5, torch.float32)])
def test_softcap_and_windows(form: Form, tokens: int, dtype: torch.dtype) -> None:
    check(Shape(tokens=tokens), [150, 2, 0], dtype, form)


@pytest.mark.parametrize("size", [1, 7, 16, 64, 128])
def test_sizes_of_pages(size: int) -> None:
    check(Shape(places=150), [150, 3], pages=(size,))


@pytest.mark.parametrize("places", [1, 64, 200])
def test_capacities(places: int) -> None:
    check(Shape(places=places), [places, 1])


def test_one_share_and_most_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    for fewest, programs in ((1000, 8), (1, 100)):
        monkeypatch.setattr(launches, "FEWEST", fewest)
        monkeypatch.setattr(launches, "SHORT", fewest)
        monkeypatch.setattr(launches, "PROGRAMS", programs)
        launches._known.clear()
        check(Shape(places=200), [200, 90])


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_of_another_width(dtype: torch.dtype) -> None:
    check(Shape(width=24, value_width=70), [100, 10], dtype)


def test_nan_and_infinities() -> None:
    q, k, v, n = operands(Shape(), [150, 150, 150])
    k[0, 0, 7], k[1, 0, 149, 0], v[2, 0, 3, 4] = torch.nan, torch.inf, torch.nan
    form = PLAIN
    ours, expected = launches.attend(q, k, v, None, n, form), fair(q, k, v, n, form)
    assert bool(expected.isnan().any())
    close(ours, expected)


def test_nothing_is_written_outside_the_results() -> None:
    for tokens in (1, 3):
        q, k, v, n = operands(Shape(tokens=tokens, width=40, value_width=33), [150, 0])
        with guarded_empty() as guards:
            launches.attend(q, k, v, None, n, PLAIN)
        assert guards.untouched()


def test_lengths_are_read_when_the_call_runs() -> None:
    """The prepared launch of one length serves the others."""
    q, k, v, n = operands(Shape(), [150, 150])
    form = PLAIN
    for lengths in ([150, 150], [5, 0], [64, 65]):
        n.copy_(torch.tensor(lengths))
        close(launches.attend(q, k, v, None, n, form), fair(q, k, v, n, form))
    assert len(launches._known) == 1


@pytest.fixture
def appends_by_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cudalint.kernels._decode.caches.put", append_launch.append)
    monkeypatch.setattr("cudalint.kernels._decode.caches.take_pages", append_launch.take_pages)


@pytest.mark.usefixtures("appends_by_kernel")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "width", "value_width"), [(1, 16, 16), (3, 40, 7), (70, 64, 96)])
def test_append(heads: int, width: int, value_width: int, dtype: torch.dtype) -> None:
    whole = KVCache(2, heads, 9, width, value_width=value_width, dtype=dtype)
    paged = PagedKVCache(2, heads, 8, 4, width, value_width=value_width, dtype=dtype)
    k = torch.randn(2, 9, heads, width).to(dtype).transpose(1, 2)
    v = torch.randn(2, heads, 9, value_width + 1).to(dtype)[..., 1:]
    for cache in (whole, paged):
        cache.append(k[:, :, :4], v[:, :, :4])
        cache.lengths.copy_(torch.tensor([4, 2]))
        cache.append(k[:, :, 4:9], v[:, :, 4:9])
        assert cache.lengths.tolist() == [9, 7]
        held = [cache.k, cache.v] if isinstance(cache, KVCache) else in_rows(cache)
        for ours, new in zip(held, (k, v), strict=True):
            assert torch.equal(ours[0, :, :9], new[0])
            assert torch.equal(ours[1, :, :7], torch.cat([new[1, :, :2], new[1, :, 4:]], 1))
    assert bool((whole.k[1, :, 7:] == 0).all() and (whole.v[1, :, 7:] == 0).all())


def in_rows(cache: PagedKVCache) -> list[Tensor]:
    table = cache.block_table
    return [t[table.long()].transpose(1, 2).flatten(2, 3) for t in (cache.k_pages, cache.v_pages)]


@pytest.mark.usefixtures("appends_by_kernel")
def test_pages_are_taken_as_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = PagedKVCache(5, 1, 40, 4, 16, most_pages=12)
    theirs = PagedKVCache(5, 1, 40, 4, 16, most_pages=12)
    gone = torch.tensor([False, True, False, True, False])
    for tokens in (1, 9, 0, 1, 3, "release", 2, 17):
        for cache in (ours, theirs):
            if tokens == "release":
                cache.release(gone)
                continue
            new = torch.zeros(5, 1, int(tokens), 16)
            with monkeypatch.context() as patch:
                if cache is theirs:
                    patch.setattr("cudalint.kernels._decode.caches.take_pages", append.take_pages)
                cache.append(new, new)
        for a, b in zip(ours.state, theirs.state, strict=True):
            used = (slice(None), slice(-1)) if a.dim() == 2 else ...
            assert torch.equal(a[used], b[used])
        ours.lengths[2] = theirs.lengths[2] = 1
