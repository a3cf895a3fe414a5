"""The public function."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels._attention import native, reference, route, written
from cudalint.kernels._attention.checks import refuse_bad_arguments
from cudalint.kernels._attention.masks import Window
from cudalint.kernels._attention.reference import Options
from cudalint.kernels._dispatch import autocast


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    bias: Tensor | None = None,
    softcap: float | None = None,
    window: Window | None = None,
    alibi_slopes: Tensor | None = None,
    sinks: Tensor | None = None,
    causal_align: Literal["top-left", "bottom-right"] = "top-left",
) -> Tensor:
    """Scaled dot-product attention, with torch's names, order and meaning, and more options.

    In this order::

        s = query · keyᵀ · scale                 scale=None: 1 / sqrt(D)
        s = softcap · tanh(s / softcap)
        s = s + bias
        s = s + attn_mask                        bool: −inf where False
        s = s − slope[h] · |i + Lk − Lq − j|     alibi_slopes
        s = −inf where is_causal or window hides key j from query i
        p = softmax(s) in float32                sinks[h] joins the denominator only
        p = dropout(p, dropout_p)                the caller writes `p if self.training else 0.0`
        out = p · value

    ``window=(left, right)`` keeps keys with ``−left ≤ j − i ≤ right``, −1 is open: the
    ``sliding_window=W`` of Hugging Face is ``(W − 1, 0)``. `causal_align` says where query i stands
    for `is_causal` and `window`: at key i, or at key i + Lk − Lq. With `enable_gqa` query head h
    reads key head h // (Hq / Hk). Mask and causal may be given together. A query that sees nothing
    gives 0 and zero gradients.

    Shapes: query (..., H, Lq, D), key (..., Hk, Lk, D), value (..., Hk, Lk, E), any strides;
    attn_mask and bias broadcast to (..., H, Lq, Lk); alibi_slopes (H,) or (B, H); sinks (H,);
    result (..., H, Lq, E). (B, T, H, D) code passes ``.transpose(1, 2)`` views.
    Dtypes: float32, float16, bfloat16, float64, one for all three; masks of any floating dtype. The
    result has query's dtype, and autocast's where autocast is on.
    Moves: query, key, value and the result once; only the reference writes the scores.
    Gradients: to query, key, value, bias, floating masks and sinks, once differentiable in the own
    kernel; to alibi_slopes, and any order, in the reference.
    Runs: torch's scaled_dot_product_attention for mask, bias, causal, scale, dropout and GQA; the own
    kernel for softcap, window, ALiBi, sinks, and bias with dropout, on CUDA devices from sm_80 on,
    for widths of at most 256. Compiled: the same, torch's inline, the own kernel as one operator. In
    full float32 the scores are written, up to 2 GB of them, where cuBLAS is faster: than the fused
    backends while compiling without the causal mask, and for heads wider than 256; than the own
    kernel unless a window hides seven of eight keys.
    Raises ValueError for shapes that do not fit, unequal dtypes or devices, a scale that is a
    tensor (multiply it into query), and options out of range.

    Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762, equation 1; ALiBi of Press et
    al., arXiv:2108.12409; softcap of Gemma 2, arXiv:2408.00118; sinks of Xiao et al.,
    arXiv:2309.17453, as gpt-oss learns them.
    """
    if (
        attn_mask is None and bias is None and softcap is None and window is None
        and alibi_slopes is None and sinks is None and not isinstance(scale, Tensor)
        and 0.0 <= dropout_p <= 1.0
        and (not is_causal or causal_align == "top-left")
        and native.is_plain(query, key, value, is_causal, enable_gqa)
    ):  # fmt: skip
        return F.scaled_dot_product_attention(
            query, key, value, None, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    options = Options(
        attn_mask, dropout_p, is_causal, scale, enable_gqa, bias, softcap, window, alibi_slopes,
        sinks, causal_align,
    )  # fmt: skip
    query, key, value = autocast(query), autocast(key), autocast(value)
    refuse_bad_arguments(query, key, value, options)
    if native.is_native(options) and key.shape[-2]:
        return native.attention(query, key, value, options)
    if route.kernel_takes(query, key, value, options):
        if written.is_faster_than_kernel(query, key, options):
            return written.with_options(query, key, value, options)
        return route.attention(query, key, value, options)
    return reference.attention(query, key, value, options)
