"""Decoding on a GPU: the error law, no waiting for the device, and a captured loop."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import KVCache, PagedKVCache, decode_attention, paged_decode_attention
from cudalint.kernels._decode import registration
from tests.kernels.error_law import assert_allowed
from tests.kernels.inputs import guarded_empty, poisoned_empty
from tests.kernels.llama import Llama, Size, greedy, greedy_without_cache

pytestmark = pytest.mark.gpu

Options = tuple[float | None, float | None, int]

B, HK, C, PAGE = 4, 2, 1024, 64
LENGTHS = [C, 500, 1, 0]


class Case(NamedTuple):
    """`page` is 0 for a whole cache."""

    dtype: torch.dtype = torch.bfloat16
    width: int = 128
    group: int = 4
    page: int = 0
    tokens: int = 1
    options: Options = (None, None, -1)


def operands(case: Case, places: int = C) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heads behind tokens, as projections give them, in rows that are not packed."""
    rng = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, device="cuda").to(case.dtype)

    q = normal(B, case.tokens, case.group * HK, case.width).transpose(1, 2)
    k = normal(B, places, HK, case.width + 8).transpose(1, 2)[..., : case.width]
    v = normal(B, HK, places, case.width)
    return q, k, v, torch.tensor(LENGTHS, device="cuda", dtype=torch.int32).clamp(max=places)


def in_pages(k: Tensor, v: Tensor, page: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same places in a pool, in no order."""
    rows = -(-k.shape[2] // page)
    table = torch.randperm(B * rows, device="cuda").view(B, rows)
    pools = []
    for cache in (k, v):
        whole = F.pad(cache, (0, 0, 0, rows * page - cache.shape[2]), value=torch.nan)
        pool = torch.empty_like(whole.unflatten(2, (rows, page)).transpose(1, 2).flatten(0, 1))
        pool[table.flatten()] = whole.unflatten(2, (rows, page)).transpose(1, 2).flatten(0, 1)
        pools.append(pool)
    return pools[0], pools[1], table.int()


def run(case: Case, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    scale, softcap, left = case.options
    options: Any = {"scale": scale, "softcap": softcap, "window": None if left < 0 else (left, 0)}
    if not case.page:
        return decode_attention(q, k, v, lengths, **options)
    return paged_decode_attention(q, *in_pages(k, v, case.page), lengths, **options)


def by_formula(case: Case, q: Tensor, k: Tensor, v: Tensor, n: Tensor, wide: torch.dtype) -> Tensor:
    """In `wide`; weights rounded to the dtype unless `wide` is float64, as every kernel has to."""
    scale, softcap, left = case.options
    qw, kw, vw = (t.to(wide) for t in (q, k, v))
    kw, vw = (t.nan_to_num().repeat_interleave(case.group, 1) for t in (kw, vw))
    scores = qw @ kw.mT * (case.width**-0.5 if scale is None else scale)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    j = torch.arange(k.shape[2], device="cuda")
    own = n[:, None, None, None] - case.tokens + torch.arange(case.tokens, device="cuda")[:, None]
    seen = (j <= own) & (j >= own - left) if left >= 0 else j <= own
    p = torch.softmax(scores.masked_fill(~seen, -torch.inf), -1).nan_to_num()
    return (p if wide == torch.float64 else p.to(q.dtype).to(wide)) @ vw


HALVES = (torch.bfloat16, torch.float16)
CASES = [
    Case(d, w, page=p) for w, p in ((40, 0), (64, 16), (80, 64), (96, 0), (256, 16)) for d in HALVES
]
CASES += [
    Case(torch.float32, w, g, p) for w, g, p in ((128, 4, 0), (64, 1, 16), (256, 4, 64), (40, 2, 0))
]
CASES += [Case(group=g, page=p) for g, p in ((1, 0), (2, 16), (8, 64), (16, 0), (64, 16))]
CASES += [Case(tokens=t, group=g, page=p) for t, g, p in ((2, 8, 0), (16, 4, 64), (5, 3, 16))]
CASES += [Case(options=o, tokens=t) for o in ((0.3, 2.0, -1), (None, None, 100)) for t in (1, 3)]
CASES += [
    Case(torch.float32, options=(None, 5.0, 77), page=16),
    Case(page=128),
    Case(page=1),
    Case(page=24),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("full", [False, True])
def test_error_law(case: Case, full: bool) -> None:
    q, k, v, lengths = operands(case)
    if full:
        lengths.fill_(C)
    for row, length in enumerate(lengths.tolist()):  # what lies behind a length is not read
        k[row, :, length:], v[row, :, length:] = torch.nan, torch.nan
    before = [t.clone() for t in (q, k, v, lengths)]
    with poisoned_empty():
        out = run(case, q, k, v, lengths)
        again = run(case, q, k, v, lengths)
    assert torch.equal(out, again)
    for a, b in zip((q, k, v, lengths), before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    near, exact = (by_formula(case, q, k, v, lengths, w) for w in (torch.float32, torch.float64))
    assert_allowed(out, near.to(case.dtype), exact)
    assert full or bool((out[3] == 0).all())


@pytest.mark.parametrize("places", [1, 63, 64, 65, 300, 70_000])
@pytest.mark.parametrize("page", [0, 16])
def test_capacities(places: int, page: int) -> None:
    case = Case(page=page)
    q, k, v, lengths = operands(case, places)
    lengths[:2] = places
    near, exact = (by_formula(case, q, k, v, lengths, w) for w in (torch.float32, torch.float64))
    assert_allowed(run(case, q, k, v, lengths), near.to(case.dtype), exact)


pages = pytest.mark.parametrize("page", [0, 16, 64])


@pages
def test_a_graph_replayed_with_other_lengths(page: int) -> None:
    case = Case(page=page)
    q, k, v, lengths = operands(case)
    tensors = (k, v) if not page else in_pages(k, v, page)
    function = decode_attention if not page else paged_decode_attention
    function(q, *tensors, lengths)  # type: ignore[operator]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = function(q, *tensors, lengths)  # type: ignore[operator]
    for new in ([1, 2, 3, 4], [0, C, 64, 65], LENGTHS):
        lengths.copy_(torch.tensor(new))
        q.copy_(torch.randn_like(q))
        graph.replay()
        assert torch.equal(out, function(q, *tensors, lengths))  # type: ignore[operator]
        exact = by_formula(case, q, k, v, lengths, torch.float64)
        torch.testing.assert_close(out.double(), exact, rtol=2e-2, atol=1e-2)


@pages
def test_a_side_stream(page: int) -> None:
    case = Case(page=page)
    q, k, v, lengths = operands(case)
    expected, late = run(case, q, k, v, lengths), torch.zeros_like(lengths)
    tensors = (k, v) if not page else in_pages(k, v, page)
    function = decode_attention if not page else paged_decode_attention
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        late.copy_(lengths)
        out = function(q, *tensors, late)  # type: ignore[operator]
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(out, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU here")
def test_a_second_gpu() -> None:
    q, k, v, lengths = operands(Case())
    there = decode_attention(*(t.to("cuda:1") for t in (q, k, v, lengths)))
    assert there.device.index == 1
    assert torch.equal(there.cuda(0), decode_attention(q, k, v, lengths))


@pytest.mark.parametrize("case", [Case(), Case(page=16, width=40, tokens=3), Case(torch.float32)])
def test_nothing_is_written_outside_the_results(case: Case) -> None:
    q, k, v, lengths = operands(case)
    pools = in_pages(k, v, case.page) if case.page else (k, v, None)
    with guarded_empty() as guards:
        registration.run_forward(q, *pools, lengths, None, None, -1)
    assert guards.untouched()


def test_calls_in_turn_with_other_alignments() -> None:
    """A remembered variant must never be run where another is needed."""
    q, _, _, lengths = operands(Case())
    buffer = torch.randn(2, B * HK * C * 128 + 8, device="cuda").bfloat16()
    for shift in (0, 1, 0, 8, 2):
        k, v = buffer[:, shift : shift + B * HK * C * 128].view(2, B, HK, C, 128)
        exact = by_formula(Case(), q, k, v, lengths, torch.float64)
        out = decode_attention(q, k, v, lengths)
        torch.testing.assert_close(out.double(), exact, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("page", [0, 16])
def test_caches_of_more_than_32_bits(page: int) -> None:
    """The last places of the second row lie beyond 2³¹ elements, in the cache and in the pool."""
    places, width, left = 2**24 + 64, 64, 300
    k, v = (torch.empty(2, 1, places, width, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    last = slice(places - left - 64, places)
    for cache in (k, v):
        cache[:, :, last] = torch.randn(2, 1, left + 64, width, device="cuda").bfloat16()
    q = torch.randn(2, 4, 1, width, device="cuda").bfloat16()
    lengths = torch.full((2,), places, device="cuda")
    if page:
        table = torch.arange(2 * places // page, device="cuda").view(2, -1)
        pools = (t.view(2 * places // page, 1, page, width) for t in (k, v))
        out = paged_decode_attention(q, *pools, table, lengths, window=(left, 0))
    else:
        out = decode_attention(q, k, v, lengths, window=(left, 0))
    short = torch.full_like(lengths, left + 64)
    expected = decode_attention(
        *(t.double() for t in (q, k[:, :, last], v[:, :, last])), short, window=(left, 0)
    )
    torch.testing.assert_close(out.double(), expected, rtol=2e-2, atol=1e-2)


@pages
def test_the_operator_and_compilation(page: int) -> None:
    q, k, v, lengths = operands(Case(page=page))
    tensors = (k, v, None) if not page else in_pages(k, v, page)
    opcheck(torch.ops.cudalint.decode_attention, (q, *tensors, lengths, None, 2.0, 100))
    torch._dynamo.reset()

    def program(q: Tensor, lengths: Tensor) -> Tensor:
        if page:
            return paged_decode_attention(q * 2, *tensors, lengths) + 1  # type: ignore[arg-type]
        return decode_attention(q * 2, k, v, lengths) + 1

    compiled = torch.compile(program, fullgraph=True)
    assert torch.equal(compiled(q, lengths), program(q, lengths))


def test_what_has_no_kernel_runs_the_reference() -> None:
    for case in (Case(tokens=33, group=2), Case(width=288), Case(torch.float32, group=32)):
        q, k, v, lengths = operands(case)
        exact = by_formula(case, q, k, v, lengths, torch.float64)
        out = run(case, q, k, v, lengths)
        torch.testing.assert_close(out.double(), exact, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_call_waits_for_the_device(paged: bool, dtype: torch.dtype) -> None:
    q, k, v, _ = operands(Case(dtype))
    whole = KVCache(B, HK, C, 128, dtype=dtype, device="cuda")
    pool = PagedKVCache(B, HK, 80, PAGE, 128, dtype=dtype, device="cuda")
    gone = torch.tensor([True, False, False, True], device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        if paged:
            pool.append(k[:, :, :500], v[:, :, :500])
            pool.release(gone)
            paged_decode_attention(q, pool.k_pages, pool.v_pages, pool.block_table, pool.lengths)
        else:
            whole.append(k[:, :, :500], v[:, :, :500])
            decode_attention(q, whole.k, whole.v, whole.lengths)
            decode_attention(q, k, v)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert whole.lengths.tolist() == [0 if paged else 500] * B
    assert pool.lengths.tolist() == ([0, 500, 500, 0] if paged else [0] * B)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_append_is_that_of_the_cpu(dtype: torch.dtype) -> None:
    k = torch.randn(B, 300, HK, 96).to(dtype).transpose(1, 2)
    v = torch.randn(B, HK, 300, 41).to(dtype)[..., 1:]
    made: list[list[Tensor]] = []
    for device in ("cpu", "cuda"):
        whole = KVCache(B, HK, 300, 96, value_width=40, dtype=dtype, device=device)
        pool = PagedKVCache(B, HK, 80, 16, 96, value_width=40, dtype=dtype, device=device)
        for cache in (whole, pool):
            for first, last in ((0, 250), (250, 251), (251, 300)):
                cache.append(k[:, :, first:last].to(device), v[:, :, first:last].to(device))
                if last == 250:
                    cache.lengths[1] = 100
        made.append([whole.k, whole.v, whole.lengths, pool.k_pages, pool.v_pages, pool.lengths])
    for theirs, ours in zip(*made, strict=True):
        assert torch.equal(ours.cpu(), theirs)


def test_a_full_cache_is_an_error_on_the_device() -> None:
    """In a process of its own: an assertion on the device ends all work there."""
    program = """
import torch
from cudalint.kernels import KVCache
cache, new = KVCache(1, 1, 4, 16, device="cuda"), torch.ones(1, 1, 3, 16, device="cuda")
cache.append(new, new)
torch.cuda.synchronize()
print("one", flush=True)
cache.append(new, new)
torch.cuda.synchronize()
print("two", flush=True)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode and run.stdout.split() == ["one"]
    assert "more tokens than the cache has room for" in run.stdout + run.stderr


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_greedy_decoding_as_without_a_cache(paged: bool, deterministic: bool) -> None:
    size = Size(width=256, heads=4, kv_heads=2)
    model = Llama(size).cuda()
    prompt = torch.randint(size.vocabulary, (2, 5), device="cuda")
    expected = greedy_without_cache(model, prompt, 20)
    shape = (2, size.kv_heads)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        caches = [
            PagedKVCache(*shape, 20, 8, size.head_width, device="cuda")
            if paged
            else KVCache(*shape, 32, size.head_width, device="cuda")
            for _ in range(size.layers)
        ]
        ours = greedy(model, prompt, 20, caches)  # type: ignore[arg-type]
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(ours, expected)
