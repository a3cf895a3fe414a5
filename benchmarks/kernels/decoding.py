"""Attention to a cache, whole and paged, and of packed sequences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels import by_hand
from benchmarks.kernels.case import Bar, Case, Function, calls
from cudalint.kernels import attention_varlen, decode_attention, paged_decode_attention

DEVICE = "cuda"

# (rows, query heads, key heads, places, width)
DECODE_SHAPES = ((32, 32, 8, 8192, 128), (1, 32, 8, 32768, 128), (64, 32, 8, 1024, 128))
PAGES = (64, 16)


def decodings() -> Iterator[Case]:
    """To a full cache, to what is filled of one, and to pages; bytes are those of what is filled."""
    for rows, heads, kv_heads, places, width in DECODE_SHAPES:
        q = _normal(rows, heads, 1, width)
        k, v = (_normal(rows, kv_heads, places, width) for _ in range(2))
        shape = f"{rows}×{heads}/{kv_heads}×{places}×{width}"
        size = 2 * k.numel() * k.element_size()
        functions: dict[str, Function] = {
            "by hand": partial(by_hand.attention, causal=False),
            "torch": partial(F.scaled_dot_product_attention, enable_gqa=heads != kv_heads),
            "ours": decode_attention,
        }
        yield Case("decode", shape, "forward", size, calls(functions, (q, k, v), False))
        full = torch.full((rows,), places, device=DEVICE, dtype=torch.int32)
        some = torch.linspace(places / 4, places, rows, device=DEVICE).int()
        for name, lengths in (("full", full), ("a quarter to full", some)):
            filled = int(lengths.sum()) * size // (rows * places)
            made = calls(_with_lengths(lengths), (q, k, v), False)
            bar = _bar(filled, 64)
            yield Case("decode_lengths", f"{shape}, {name}", "forward", filled, made, bar=bar)
            for page in PAGES if name == "full" or rows > 1 else ():
                pools = (_pages(k, page), _pages(v, page))
                paged = _paged(lengths, _table(rows, places // page))
                made = calls(paged, (q, *pools), False)
                text = f"{shape}, pages of {page}, {name}"
                bar = _bar(filled, page)
                yield Case("paged_decode", text, "forward", filled, made, bar=bar)


def _bar(filled: int, page: int) -> Bar | None:
    """Of the copy's bandwidth, where keys and values are over 256 MB."""
    return Bar(share=0.85 if page >= 64 else 0.75) if filled >= 256e6 else None


def _with_lengths(lengths: Tensor) -> dict[str, Function]:
    return {
        "torch": partial(_masked, lengths=lengths),
        "ours": partial(decode_attention, lengths=lengths),
    }


def _paged(lengths: Tensor, table: Tensor) -> dict[str, Function]:
    return {
        "by hand": partial(_gathered, lengths=lengths, table=table),
        "ours": lambda q, k, v: paged_decode_attention(q, k, v, table, lengths),
    }


def _masked(q: Tensor, k: Tensor, v: Tensor, *, lengths: Tensor) -> Tensor:
    seen = torch.arange(k.shape[2], device=DEVICE) < lengths[:, None, None, None]
    return F.scaled_dot_product_attention(q, k, v, seen, enable_gqa=True)


def _gathered(q: Tensor, k: Tensor, v: Tensor, *, lengths: Tensor, table: Tensor) -> Tensor:
    k, v = (pages[table].transpose(1, 2).flatten(2, 3) for pages in (k, v))
    return _masked(q, k, v, lengths=lengths)


def _pages(cache: Tensor, size: int) -> Tensor:
    return cache.unflatten(2, (-1, size)).transpose(1, 2).flatten(0, 1)


def _table(rows: int, pages: int) -> Tensor:
    """Pages in no order, as a pool that is in use hands them out."""
    return torch.randperm(rows * pages, device=DEVICE).int().view(rows, pages)


# lengths of the sequences, (query heads, key heads, width)
PACKED = (
    ((4096, 1024, 2048, 512, 128, 3072, 256, 5248), (16, 16, 128)),
    ((512,) * 64, (32, 8, 128)),
)


def packed_attentions() -> Iterator[Case]:
    """Causal, against one call for each sequence."""
    for lengths, (heads, kv_heads, width) in PACKED:
        total = sum(lengths)
        q = _normal(total, heads, width)
        k, v = (_normal(total, kv_heads, width) for _ in range(2))
        offsets = torch.tensor([0, *lengths], device=DEVICE).cumsum(0).int()
        functions: dict[str, Function] = {
            "one by one": partial(_one_by_one, lengths=lengths),
            "ours": partial(_packed, offsets=offsets, longest=max(lengths)),
        }
        shape = f"{len(lengths)} of {min(lengths)} to {max(lengths)}×{heads}/{kv_heads}×{width}"
        operations = sum(2 * heads * length * length * width for length in lengths)
        for mode, share in (("forward", 1.0), ("forward+backward", 3.5)):
            made = calls(functions, (q, k, v), share > 1)
            work = int(share * operations)
            yield Case("attention_varlen", f"{shape} causal", mode, work, made, is_compute=True)


def _packed(q: Tensor, k: Tensor, v: Tensor, *, offsets: Tensor, longest: int) -> Tensor:
    return attention_varlen(
        q, k, v, offsets, offsets, longest, longest, is_causal=True, enable_gqa=True
    )


def _one_by_one(q: Tensor, k: Tensor, v: Tensor, *, lengths: tuple[int, ...]) -> Tensor:
    split = zip(*[t.transpose(0, 1)[None].split(lengths, 2) for t in (q, k, v)], strict=True)
    gqa = q.shape[1] != k.shape[1]
    parts = [F.scaled_dot_product_attention(*p, is_causal=True, enable_gqa=gqa) for p in split]
    return torch.cat(parts, 2)[0].transpose(0, 1)


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, device=DEVICE, dtype=torch.bfloat16)
