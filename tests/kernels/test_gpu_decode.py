"""Decoding on a GPU: the error law, no waiting for the device, and a captured loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cudalint.kernels import KVCache, PagedKVCache, decode_attention, paged_decode_attention
from tests.kernels.error_law import assert_allowed
from tests.kernels.llama import Llama, Size, greedy, greedy_without_cache

pytestmark = pytest.mark.gpu

B, H, HK, C, D, PAGE = 4, 8, 2, 1024, 64, 64


def run_whole(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None) -> Tensor:
    return decode_attention(q, k, v, lengths)


def run_paged(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None) -> Tensor:
    table = torch.arange(B * C // PAGE, device="cuda", dtype=torch.int32).view(B, -1).flip(0)
    pools = (
        t.unflatten(2, (-1, PAGE)).transpose(1, 2).flip(0).flatten(0, 1).contiguous()
        for t in (k, v)
    )
    assert lengths is not None
    return paged_decode_attention(q, *pools, table, lengths)


functions = pytest.mark.parametrize("function", [run_whole, run_paged])


def operands(dtype: torch.dtype, tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator("cuda").manual_seed(0)
    shapes = ((B, H, tokens, D), (B, HK, C, D), (B, HK, C, D))
    q, k, v = (torch.randn(s, generator=rng, device="cuda").to(dtype) for s in shapes)
    return q, k, v, torch.tensor([C, 500, 1, 0], device="cuda", dtype=torch.int32)


@functions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("full", [False, True])
def test_error_law(
    function: Callable[..., Tensor], dtype: torch.dtype, tokens: int, full: bool
) -> None:
    q, k, v, lengths = operands(dtype, tokens)
    lengths = torch.full_like(lengths, C) if full else lengths
    out = function(q, k, v, None if full and function is run_whole else lengths)
    near, exact = (run_whole(*(t.to(w) for t in (q, k, v)), lengths) for w in WIDE)
    # torch's float32 kernel makes a product of three TF32 ones: about 1e-6, twice float32's error
    assert_allowed(out, near.to(dtype), exact, factor=4.0 if dtype == torch.float32 else 2.0)
    assert full or bool((out[3] == 0).all())


WIDE = (torch.float32, torch.float64)


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_call_waits_for_the_device(paged: bool, dtype: torch.dtype) -> None:
    q, k, v, _ = operands(dtype, 1)
    whole = KVCache(B, HK, C, D, dtype=dtype, device="cuda")
    pool = PagedKVCache(B, HK, 80, PAGE, D, dtype=dtype, device="cuda")
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
