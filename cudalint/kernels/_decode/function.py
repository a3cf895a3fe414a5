"""The public functions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cudalint.kernels._attention.checks import refuse_bad_score_options
from cudalint.kernels._attention.masks import Window
from cudalint.kernels._decode.checks import (
    refuse_bad_lengths,
    refuse_bad_operands,
    refuse_bad_table,
)
from cudalint.kernels._decode.reference import attend
from cudalint.kernels._decode.registration import kernel_takes, run_forward, run_reference
from cudalint.kernels._dispatch import autocast, must_dispatch


def decode_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    lengths: Tensor | None = None,
    *,
    scale: float | None = None,
    softcap: float | None = None,
    window: Window | None = None,
) -> Tensor:
    """Attention of the newest tokens to all that a cache holds, causal.

    Of row b the first ``n = lengths[b]`` places of the cache are filled, the newest tokens among
    them: query i of T stands at place ``n − T + i`` and sees the places up to its own::

        attention(q[b], k_cache[b, :, :n], v_cache[b, :, :n], is_causal=True, scale=scale,
                  softcap=softcap, window=window, enable_gqa=True, causal_align="bottom-right")

    ``lengths=None`` means that the cache is full. Query head h reads key head h // (H / Hk). A row
    of length 0, and a query that stands before place 0, give 0.

    Shapes: q (B, H, T, D), k_cache (B, Hk, capacity, D), v_cache (B, Hk, capacity, E), any strides;
    lengths (B,), int32 or int64, at most the capacity; result (B, H, T, E). What lies behind a
    row's length is hidden, but must be finite, as a cache of zeros is. No call reads `lengths` on
    the host, so a CUDA graph can hold it.
    Dtypes: float32, float16, bfloat16, float64, one for all three. The result has q's dtype, and
    autocast's where autocast is on.
    Moves: the filled part of both caches once.
    Gradients: none; forward only.
    Runs: torch's scaled_dot_product_attention for ``lengths=None``; else a kernel that shares the
    places of a row among programs and adds up in a fixed order, for up to 64 queries a key head
    (T · H / Hk), widths up to 256 and caches whose last dimension is dense, of float32 for up to
    1,024 numbers of these queries; what is left, and what stands before Ampere, runs torch's
    attention behind a mask. Compiled: one opaque operator.
    Raises ValueError for shapes that do not fit, unequal dtypes or devices, options out of range,
    and operands that require a gradient.

    Pope et al., Efficiently Scaling Transformer Inference, 2022, arXiv:2211.05102, section 3.3.
    """
    q, k_cache, v_cache = autocast(q), autocast(k_cache), autocast(v_cache)
    refuse_bad_operands("decode_attention", q, k_cache=k_cache, v_cache=v_cache)
    if q.shape[0] != k_cache.shape[0]:
        raise ValueError(
            f"decode_attention: k_cache has shape {tuple(k_cache.shape)}; accepted: as many rows "
            f"as q, {q.shape[0]}"
        )
    refuse_bad_score_options("decode_attention", scale, softcap, window)
    if lengths is None:
        return attend(q, k_cache, v_cache, None, scale, softcap, window)
    refuse_bad_lengths("decode_attention", lengths, q)
    return _attend(q, k_cache, v_cache, None, lengths, scale, softcap, window)


def paged_decode_attention(
    q: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    block_table: Tensor,
    lengths: Tensor,
    *,
    scale: float | None = None,
    softcap: float | None = None,
    window: Window | None = None,
) -> Tensor:
    """`decode_attention` where the places of a row lie in pages of a pool that all rows share.

    Place p of row b is ``k_pages[block_table[b, p // page_size], :, p % page_size]``. Entries of
    `block_table` behind a row's last page may be anything.

    Shapes: q (B, H, T, D), k_pages (pages, Hk, page_size, D), v_pages (pages, Hk, page_size, E),
    any strides; block_table (B, most pages of a row) and lengths (B,), int32 or int64; result
    (B, H, T, E). The pages must hold finite numbers, as a pool of zeros does. No call reads
    `block_table` or `lengths` on the host, so a CUDA graph can hold it.
    Dtypes (float64 too), gradients (none), options and errors are those of `decode_attention`.
    Moves: the filled pages once.
    Runs: the kernel of `decode_attention`, for the same cases; else pages are gathered into rows
    first. Compiled: one opaque operator.

    Kwon et al., Efficient Memory Management for Large Language Model Serving with PagedAttention,
    2023, arXiv:2309.06180, equation 4.
    """
    name = "paged_decode_attention"
    q, k_pages, v_pages = autocast(q), autocast(k_pages), autocast(v_pages)
    refuse_bad_operands(name, q, k_pages=k_pages, v_pages=v_pages)
    refuse_bad_score_options(name, scale, softcap, window)
    refuse_bad_table(name, block_table, q)
    refuse_bad_lengths(name, lengths, q)
    return _attend(q, k_pages, v_pages, block_table, lengths, scale, softcap, window)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    block_table: Tensor | None,
    lengths: Tensor,
    scale: float | None,
    softcap: float | None,
    window: Window | None,
) -> Tensor:
    left = -1 if window is None else window[0]  # the right side of a window hides nothing
    run = _route(q, k, v, block_table, lengths)
    return run(q, k, v, block_table, lengths, scale, softcap, left)


def _route(
    q: Tensor, k: Tensor, v: Tensor, block_table: Tensor | None, lengths: Tensor
) -> Callable[..., Tensor]:
    if not kernel_takes(q, k, v):
        return run_reference
    if torch.compiler.is_compiling() or must_dispatch(q, k, v, block_table, lengths):
        operator: Callable[..., Tensor] = torch.ops.cudalint.decode_attention
        return operator
    return run_forward
