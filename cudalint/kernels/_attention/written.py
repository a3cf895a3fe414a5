"""Attention with its scores written, by products of whole matrices.

In full float32 the fused backends make each product of three TF32 products, outside of cuBLAS. On an
H200 that is slower than cuBLAS where inductor fuses what stands between the products, and for heads
wider than 256.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._attention.reference import Options
from cudalint.kernels._dispatch import allows_tf32

# Bytes of scores, from which on their memory is worth more than the time.
MOST = 2**30
WIDEST_FUSED = 256


def is_faster(q: Tensor, k: Tensor, causal: bool) -> bool:
    """Whether this takes less time than torch's fused backends, and not much memory."""
    if not q.is_cuda or q.dtype != torch.float32:
        return False
    if causal or not (torch.compiler.is_compiling() or q.shape[3] > WIDEST_FUSED):
        return False
    scores = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
    return scores * 4 <= MOST and not allows_tf32()


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, options: Options) -> Tensor:
    """(batch, heads, length, width) each, as many heads of all; `mask` is added."""
    scale = q.shape[-1] ** -0.5 if options.scale is None else options.scale
    scores = torch.matmul(q * scale, k.mT)
    hidden = None
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = scores.new_zeros(()).where(mask, -float("inf"))
        hidden = (mask == -float("inf")).all(-1, keepdim=True)
        scores = scores + mask.masked_fill(hidden, 0.0)
    weights = torch.softmax(scores, -1)
    if options.dropout_p:
        weights = torch.dropout(weights, options.dropout_p, train=True)
    out = torch.matmul(weights, v)
    return out if hidden is None else out.masked_fill(hidden, 0.0)
