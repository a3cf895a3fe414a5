"""Attention with its scores written, by products of whole matrices.

In full float32 the fused backends make each product of three TF32 products, and the own kernel
without tensor cores, where cuBLAS reaches ten times its speed. On an H200 writing the scores is faster
than the own kernel; and than the fused backends where inductor fuses what stands between the
products, and for heads wider than 256.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cudalint.kernels._attention import masks
from cudalint.kernels._attention.reference import Options
from cudalint.kernels._dispatch import allows_tf32

# Bytes of scores, past which their memory is worth more than the time.
MOST = 2**31
WIDEST_FUSED = 256
# The share of the keys that a window leaves, below which the own kernel skips enough of them.
LEAST_SEEN = 1 / 8


def is_faster(q: Tensor, k: Tensor, causal: bool) -> bool:
    """Whether this takes less time than torch's fused backends, and not much memory."""
    if not q.is_cuda or q.dtype != torch.float32:
        return False
    if causal or not (torch.compiler.is_compiling() or q.shape[-1] > WIDEST_FUSED):
        return False
    return _scores_fit(q, k) and not allows_tf32()


def is_faster_than_kernel(q: Tensor, k: Tensor, options: Options) -> bool:
    """Whether this takes less time than the own kernel, and not much memory."""
    if q.dtype != torch.float32 or allows_tf32() or not _scores_fit(q, k):
        return False
    return _seen(k.shape[-2], options) >= LEAST_SEEN


def _scores_fit(q: Tensor, k: Tensor) -> bool:
    return math.prod(q.shape[:-1]) * k.shape[-2] * 4 <= MOST


def _seen(keys: int, options: Options) -> float:
    """About the share of the keys that a query sees."""
    left, right = options.window or (-1, -1)
    if options.is_causal:
        right = 0
    reach = sum(keys / 2 if side < 0 else side for side in (left, right))
    return min(reach / keys, 1.0)


def with_options(q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
    """All that `attention` has."""
    queries, keys = q.shape[-2], k.shape[-2]
    seen = masks.visible(
        queries, keys, options.is_causal, options.window, options.causal_align, q.device
    )
    mask = masks.both(masks.both(options.bias, options.attn_mask), seen)
    slopes = options.alibi_slopes
    alibi = None if slopes is None else masks.alibi(slopes, queries, keys)
    return attention(q, k, v, mask, options, alibi)


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, options: Options,
    alibi: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(..., heads, length, width) each, fewer heads of k and v where they are shared; any strides.

    `mask` and `alibi` are added. The result lies in memory as `v` does.
    """
    scale = q.shape[-1] ** -0.5 if options.scale is None else options.scale
    hidden = None
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = q.new_zeros(()).where(mask, -float("inf"))
        mask = mask.to(q.dtype)
        hidden = (mask == -float("inf")).all(-1, keepdim=True)
        mask = mask.masked_fill(hidden, 0.0)
    if alibi is not None:
        mask = alibi if mask is None else mask + alibi
    scores = _scores(q, k, mask, scale, options.softcap)
    weights = _weights(scores, options.sinks)
    if options.dropout_p:
        weights = torch.dropout(weights, options.dropout_p, train=True)
    is_transposed = v.stride(-1) != 1 and v.stride(-2) == 1 and v.shape[:-2] == q.shape[:-2]
    out = _product(v.mT, weights.mT).mT if is_transposed else _product(weights, v)
    return out if hidden is None else out.masked_fill(hidden, 0.0)


def _scores(
    q: Tensor, k: Tensor, added: Tensor | None, scale: float, softcap: float | None
) -> Tensor:
    """Each step goes once over numbers as many as the scores."""
    if softcap is None:
        scores = _product(q * scale, k.mT)
        return scores if added is None else scores + added
    capped = torch.tanh(_product(q * (scale / softcap), k.mT))
    return capped * softcap if added is None else torch.add(added, capped, alpha=softcap)


def _weights(scores: Tensor, sinks: Tensor | None) -> Tensor:
    if sinks is None:
        return torch.softmax(scores, -1)
    sink = sinks.to(scores.dtype)[:, None, None].expand(*scores.shape[:-1], 1)
    return torch.softmax(torch.cat([scores, sink], -1), -1)[..., :-1]


def _product(rows: Tensor, shared: Tensor) -> Tensor:
    """rows @ shared; the heads of `rows` that share one of `shared` stand below each other."""
    if rows.dim() > 2 and rows.shape[-3] != shared.shape[-3]:
        lines = rows.shape[-3] // shared.shape[-3] * rows.shape[-2]
        made = rows.reshape(*shared.shape[:-2], lines, rows.shape[-1]) @ shared
        return made.view(*rows.shape[:-1], made.shape[-1])
    return torch.bmm(rows, shared) if rows.dim() == 3 else rows @ shared
