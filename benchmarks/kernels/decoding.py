"""Attention to a cache, whole and paged, and of packed sequences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels import by_hand
from benchmarks.kernels.case import Case, Function, calls
from cudalint.kernels import attention_varlen, decode_attention, paged_decode_attention

DEVICE = "cuda"

# (rows, query heads, key heads, places, width)
DECODE_SHAPES = ((32, 32, 8, 8192, 128), (1, 32, 8, 32768, 128), (64, 32, 8, 1024, 128))
PAGES = (64, 16)


def decodings() -> Iterator[Case]:
    for rows, heads, kv_heads, places, width in DECODE_SHAPES:
        q = _normal(rows, heads, 1, width)
        k, v = (_normal(rows, kv_heads, places, width) for _ in range(2))
        lengths = torch.full((rows,), places, device=DEVICE, dtype=torch.int32)
        functions: dict[str, Function] = {
            "by hand": partial(by_hand.attention, causal=False),
            "torch": partial(F.scaled_dot_product_attention, enable_gqa=heads != kv_heads),
            "ours": decode_attention,
            "ours, lengths": partial(decode_attention, lengths=lengths),
        }
        shape = f"{rows}×{heads}/{kv_heads}×{places}×{width}"
        size = 2 * k.numel() * k.element_size()
        yield Case("decode", shape, "forward", size, calls(functions, (q, k, v), False))
        for page in PAGES:
            paged = {"ours": partial(_paged, lengths=lengths, table=_table(rows, places // page))}
            pools = tuple(t.unflatten(2, (-1, page)).transpose(1, 2).flatten(0, 1) for t in (k, v))
            made = calls(paged, (q, *pools), False)
            yield Case("paged_decode", f"{shape}, pages of {page}", "forward", size, made)


def _paged(q: Tensor, k: Tensor, v: Tensor, *, table: Tensor, lengths: Tensor) -> Tensor:
    return paged_decode_attention(q, k, v, table, lengths)


def _table(rows: int, pages: int) -> Tensor:
    return torch.arange(rows * pages, device=DEVICE, dtype=torch.int32).view(rows, pages)


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
