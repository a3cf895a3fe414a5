"""Decoding on the CPU: attention to a cache, paged or whole, and the caches in a greedy loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import KVCache, PagedKVCache, decode_attention, paged_decode_attention
from tests.kernels.llama import Llama, Size, greedy, greedy_without_cache

B, H, HK, C, D, E = 4, 4, 2, 12, 8, 6
LENGTHS = torch.tensor([12, 5, 1, 0], dtype=torch.int32)


def operands(dtype: torch.dtype = torch.float64, tokens: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)

    return normal(B, H, tokens, D), normal(B, HK, C, D), normal(B, HK, C, E)


def paged(k: Tensor, v: Tensor, size: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """The same cache in shuffled pages, with more pages than are used and garbage in the table."""
    row = C // size
    table = (torch.randperm(B * row + 3)[: B * row]).view(B, row).int()
    pools = []
    for cache in (k, v):
        pool = torch.randn(B * row + 3, HK, size, cache.shape[3], dtype=cache.dtype)
        for b in range(B):
            for page in range(row):
                pool[table[b, page]] = cache[b, :, page * size : (page + 1) * size]
        pools.append(pool)
    table[2:, 1:] = torch.tensor([-1, 10**6])  # behind the last page of short rows
    return pools[0], pools[1], table


def run_paged(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, **options: Any) -> Tensor:
    return paged_decode_attention(q, *paged(k, v), lengths, **options)


functions = pytest.mark.parametrize("function", [decode_attention, run_paged])


def by_hand(q: Tensor, k: Tensor, v: Tensor, length: int, left: int, scale: float | None) -> Tensor:
    """One row through torch's attention, on the filled part of the cache."""
    tokens = q.shape[1]
    k, v = (t[:, :length].repeat_interleave(H // HK, 0) for t in (k, v))
    place = torch.arange(tokens)[:, None] + length - tokens
    seen = torch.arange(length) <= place
    seen = seen & (torch.arange(length) >= place - left) if left >= 0 else seen
    out = F.scaled_dot_product_attention(q, k, v, seen, scale=scale)
    return torch.where(place >= 0, out, 0.0)


@functions
@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("window", [None, (2, 0), (-1, 5)])
def test_each_row_is_torchs_attention(
    function: Callable[..., Tensor], tokens: int, window: tuple[int, int] | None
) -> None:
    q, k, v = operands(tokens=tokens)
    scale = None if tokens == 1 else 0.3
    out = function(q, k, v, LENGTHS, window=window, scale=scale)
    left = -1 if window is None else window[0]
    for b, length in enumerate(LENGTHS.tolist()):
        theirs = by_hand(q[b], k[b], v[b], length, left, scale) if length else torch.zeros(E)
        torch.testing.assert_close(out[b], theirs.to(out.dtype).expand_as(out[b]))


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("window", [None, (2, 0)])
def test_no_lengths_is_the_whole_cache(tokens: int, window: tuple[int, int] | None) -> None:
    q, k, v = operands(tokens=tokens)
    full = torch.full((B,), C)
    torch.testing.assert_close(
        decode_attention(q, k, v, window=window), decode_attention(q, k, v, full, window=window)
    )


@functions
def test_softcap_is_torchs_tanh_of_the_scores(function: Callable[..., Tensor]) -> None:
    q, k, v = operands()
    out = function(q, k, v, LENGTHS, softcap=2.0)
    keys, values = k[1, :, :5].repeat_interleave(2, 0), v[1, :, :5].repeat_interleave(2, 0)
    p = torch.softmax(2.0 * torch.tanh(q[1] @ keys.mT * D**-0.5 / 2.0), -1)
    torch.testing.assert_close(out[1], p @ values)


@functions
def test_what_lies_behind_a_length_is_hidden(function: Callable[..., Tensor]) -> None:
    q, k, v = operands()
    before = function(q, k, v, LENGTHS)
    k[1, :, 5:], v[1, :, 5:] = 1e4, -1e4
    assert torch.equal(function(q, k, v, LENGTHS), before)


@functions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes(function: Callable[..., Tensor], dtype: torch.dtype) -> None:
    q, k, v = operands(dtype)
    torch.manual_seed(0)
    out = function(q, k, v, LENGTHS)
    assert out.dtype == dtype
    exact = decode_attention(q.double(), k.double(), v.double(), LENGTHS)
    torch.testing.assert_close(out.double(), exact, rtol=2e-2, atol=1e-2)
    with torch.autocast("cpu", torch.bfloat16):
        assert function(q, k, v, LENGTHS).dtype == torch.bfloat16


@functions
def test_compiles_in_one_graph(function: Callable[..., Tensor]) -> None:
    torch._dynamo.reset()
    q, k, v = operands(torch.float32)
    if function is run_paged:
        pools = paged(k, v)
        compiled = torch.compile(paged_decode_attention, fullgraph=True, backend="eager")
        ours, theirs = compiled(q, *pools, LENGTHS), paged_decode_attention(q, *pools, LENGTHS)
    else:
        compiled = torch.compile(decode_attention, fullgraph=True, backend="eager")
        ours, theirs = compiled(q, k, v, LENGTHS), decode_attention(q, k, v, LENGTHS)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operator(table: bool, dtype: torch.dtype) -> None:
    q, k, v = operands(dtype, tokens=2)
    tensors = paged(k, v) if table else (k, v, None)
    opcheck(torch.ops.cudalint.decode_attention, (q, *tensors, LENGTHS, 0.3, 2.0, 5))
    out = torch.ops.cudalint.decode_attention(q, *tensors, LENGTHS, 0.3, 2.0, 5)
    options: Any = {"scale": 0.3, "softcap": 2.0, "window": (5, 0)}
    torch.testing.assert_close(out, decode_attention(q, k, v, LENGTHS, **options))
    leaf = q.requires_grad_()
    out = torch.ops.cudalint.decode_attention(leaf, *tensors, LENGTHS, None, None, -1)
    with pytest.raises(NotImplementedError, match="there is no backward"):
        out.sum().backward()


def test_a_cache_grows_where_it_is() -> None:
    cache = KVCache(2, HK, 7, D, value_width=E, dtype=torch.float64)
    memory = cache.k.data_ptr(), cache.v.data_ptr(), cache.lengths.data_ptr()
    k, v = torch.randn(2, HK, 7, D).double(), torch.randn(2, HK, 7, E).double()
    k.requires_grad_()
    cache.append(k[:, :, :4], v[:, :, :4])
    cache.lengths.copy_(torch.tensor([4, 2]))  # two tokens of the second row taken back
    cache.append(k[:, :, 4:6], v[:, :, 4:6])
    assert cache.lengths.tolist() == [6, 4]
    assert torch.equal(cache.k[0, :, :6], k[0, :, :6]) and not cache.k.requires_grad
    assert torch.equal(cache.v[1, :, :4], torch.cat([v[1, :, :2], v[1, :, 4:6]], 1))
    assert bool((cache.k[:, :, 6:] == 0).all()) and bool((cache.k[1, :, 4:] == 0).all())
    with pytest.raises(ValueError, match="2 tokens behind 6; accepted: at most 7 in all"):
        cache.append(k[:, :, :2], v[:, :, :2])
    cache.reset()
    cache.append(k, v)
    assert torch.equal(cache.k, k)
    assert memory == (cache.k.data_ptr(), cache.v.data_ptr(), cache.lengths.data_ptr())


def rows_of(cache: PagedKVCache) -> list[Tensor]:
    """What each row holds, gathered by hand."""
    size, rows = cache.page_size, []
    for b, length in enumerate(cache.lengths.tolist()):
        places = [(int(cache.block_table[b, p // size]), p % size) for p in range(length)]
        rows.append(torch.stack([cache.k_pages[page, :, slot] for page, slot in places], 1))
    return rows


def test_pages_are_taken_and_given_back() -> None:
    cache = PagedKVCache(3, HK, 7, 2, D)
    held = [torch.zeros(HK, 0, D)] * 3

    def grow(tokens: int) -> None:
        k = torch.randn(3, HK, tokens, D)
        cache.append(k, k)
        held[:] = [torch.cat([row, new], 1) for row, new in zip(held, k, strict=True)]

    for tokens in (1, 2):
        grow(tokens)
    assert all(map(torch.equal, rows_of(cache), held))
    cache.release(torch.tensor([False, True, False]))  # two pages of six go back
    held[1] = held[1][:, :0]
    assert cache.lengths.tolist() == [3, 0, 3]
    cache.lengths[2] -= 2
    held[2] = held[2][:, :1]
    grow(1)
    grow(1)
    assert all(map(torch.equal, rows_of(cache), held))
    pages = [int(p) for b, n in enumerate((3, 1, 2)) for p in cache.block_table[b, :n]]
    assert len(set(pages)) == 6
    grow(1)  # the seventh page, and one that row 2 kept
    assert all(map(torch.equal, rows_of(cache), held))
    with pytest.raises(ValueError, match="the pool has 7 pages, of which 7 are taken"):
        grow(2)
    assert all(map(torch.equal, rows_of(cache), held))
    cache.reset()
    held[:] = [torch.zeros(HK, 0, D)] * 3
    grow(4)
    assert all(map(torch.equal, rows_of(cache), held))


def test_a_row_has_only_so_many_pages() -> None:
    cache = PagedKVCache(1, HK, 7, 2, D, most_pages=2)
    k = torch.randn(1, HK, 5, D)
    with pytest.raises(ValueError, match="5 tokens behind 0; accepted: at most 4 in all"):
        cache.append(k, k)


def make_caches(kind: str, size: Size, batch: int, dtype: torch.dtype) -> list[Any]:
    if kind == "whole":
        sizes = (batch, size.kv_heads, 16, size.head_width)
        return [KVCache(*sizes, dtype=dtype) for _ in range(size.layers)]
    pages = (batch, size.kv_heads, 5 * batch, 4, size.head_width)
    return [PagedKVCache(*pages, dtype=dtype) for _ in range(size.layers)]


@pytest.mark.parametrize("kind", ["whole", "paged"])
def test_greedy_decoding_of_our_llama(kind: str) -> None:
    size = Size()
    model = Llama(size).double()
    prompt = torch.randint(size.vocabulary, (2, 5))
    expected = greedy_without_cache(model, prompt, 9)
    assert torch.equal(
        greedy(model, prompt, 9, make_caches(kind, size, 2, torch.float64)), expected
    )


@pytest.mark.parametrize("kind", ["whole", "paged"])
def test_greedy_decoding_of_transformers_llama(kind: str) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed here")
    from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

    size = Size()
    config = LlamaConfig(
        vocab_size=size.vocabulary, hidden_size=size.width, intermediate_size=48,
        num_hidden_layers=size.layers, num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads, max_position_embeddings=32,
    )  # fmt: skip
    model = LlamaForCausalLM(config).double().eval()
    prompt = torch.randint(size.vocabulary, (2, 5))
    expected = greedy_without_cache(lambda t: model(t, use_cache=False).logits[:, -1], prompt, 9)  # type: ignore[arg-type]
    caches = make_caches(kind, size, 2, torch.float64)

    def attend(
        module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, None]:
        from tests.kernels.llama import attend

        cache = caches[module.layer_idx]
        cache.append(k, v)
        return attend(q, cache).transpose(1, 2).contiguous(), None

    AttentionInterface.register("cudalint-test-cache", attend)
    model.set_attn_implementation("cudalint-test-cache")

    def step(tokens: Tensor, caches: list[KVCache]) -> Tensor:
        start = caches[0].lengths[:, None].long()
        place = start + torch.arange(tokens.shape[1])
        logits: Tensor = model(tokens, position_ids=place, use_cache=False).logits[:, -1]
        return logits

    assert torch.equal(greedy(step, prompt, 9, caches), expected)  # type: ignore[arg-type]


def decode(**change: Any) -> Tensor:
    q, k, v = operands()
    return decode_attention(**({"q": q, "k_cache": k, "v_cache": v, "lengths": LENGTHS} | change))


def decode_paged(**change: Any) -> Tensor:
    q, k, v = operands()
    k, v, table = paged(k, v)
    arguments = {"q": q, "k_pages": k, "v_pages": v, "block_table": table, "lengths": LENGTHS}
    return paged_decode_attention(**(arguments | change))


def append(kind: str, *shape: int, dtype: torch.dtype = torch.float32, tokens_v: int = 0) -> None:
    cache = KVCache(2, 2, 4, 8) if kind == "whole" else PagedKVCache(2, 2, 4, 2, 8)
    k = torch.ones(*shape, dtype=dtype)
    cache.append(k, k[:, :, : k.shape[2] - tokens_v])


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: decode(q=torch.ones(B, H, D).double()), "shapes are q"),
    (lambda: decode(q=torch.ones(B, 3, 1, D).double()), "H a multiple of Hk"),
    (lambda: decode(q=torch.ones(B, H, 1, D)), "k_cache has dtype torch.float64; accepted: q's"),
    (lambda: decode(q=torch.ones(2, H, 1, D).double()), "accepted: as many rows as q, 2"),
    (lambda: decode(q=torch.ones(B, H, 1, D).double().requires_grad_()), "requires a gradient"),
    (lambda: decode(lengths=LENGTHS.float()), "dtype torch.float32; accepted: a tensor"),
    (lambda: decode(lengths=LENGTHS[:2]), r"lengths is of shape \(2,\)"),
    (lambda: decode(lengths=5), r"lengths is 5; accepted: a tensor \(4,\)"),
    (lambda: decode(softcap=0.0), "decode_attention: softcap is 0.0"),
    (lambda: decode_paged(lengths=None), "lengths is None"),
    (lambda: decode_paged(block_table=torch.zeros(B, 3)), "block_table has shape"),
    (lambda: decode_paged(block_table=torch.zeros(2, 3).int()), r"accepted: \(4, pages of a row\)"),
    (lambda: decode_paged(window=(1, 2, 3)), "paged_decode_attention: window is"),
    (lambda: KVCache(2, 2, 0, 8), "KVCache: capacity is 0; accepted: an integer of 1"),
    (lambda: PagedKVCache(2, 2, 4, 2.0, 8), "page_size is 2.0"),  # type: ignore[arg-type]
    (lambda: append("whole", 2, 2, 1, 9), r"k has shape \(2, 2, 1, 9\); accepted: \(2, 2, T, 8\)"),
    (lambda: append("paged", 1, 2, 1, 8), r"k has shape \(1, 2, 1, 8\); accepted: \(2, 2, T, 8\)"),
    (lambda: append("whole", 2, 2, 1, 8, dtype=torch.float16), "k has dtype torch.float16"),
    (lambda: append("paged", 2, 2, 2, 8, tokens_v=1), "v has 1 tokens; accepted: as many as k, 2"),
    (lambda: PagedKVCache(2, 2, 4, 2, 8).release(torch.zeros(2)), r"accepted: \(2,\) and"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_refusals_say_what_is_accepted(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
