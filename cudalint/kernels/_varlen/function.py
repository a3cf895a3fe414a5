"""The public function."""

from __future__ import annotations

from torch import Tensor

from cudalint.kernels._attention.checks import refuse_bad_score_options
from cudalint.kernels._attention.masks import Window
from cudalint.kernels._dispatch import autocast
from cudalint.kernels._varlen import native, padded
from cudalint.kernels._varlen.checks import refuse_bad_arguments
from cudalint.kernels._varlen.padded import Options, Sequences


def attention_varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    softcap: float | None = None,
    window: Window | None = None,
) -> Tensor:
    """Attention of sequences of unequal lengths that lie packed one behind another.

    Sequence s has the queries ``q[cu_seqlens_q[s] : cu_seqlens_q[s + 1]]`` and the keys and values
    of the same places in `cu_seqlens_k`; on them it is::

        attention(q_s, k_s, v_s, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa,
                  softcap=softcap, window=window, causal_align="bottom-right")

    so the last query of a sequence stands at its last key. A query that sees nothing gives 0.

    Shapes: q (total_q, H, D), k (total_k, Hk, D), v (total_k, Hk, E), any strides; cu_seqlens_q and
    cu_seqlens_k (sequences + 1,), int32 or int64, from 0 up to total_q and total_k; result
    (total_q, H, E). The maxima are Python numbers, at least the longest sequence: no call reads the
    device, so a CUDA graph can hold it, and only on the CPU are the offsets looked at.
    Dtypes: float32, float16, bfloat16, float64, one for all three. The result has q's dtype, and
    autocast's where autocast is on.
    Moves: q, k, v and the result once in torch's kernel; the padded form writes the padded batch,
    and for softcap the scores.
    Gradients: to q, k and v; once differentiable in torch's kernel.
    Runs: torch.nn.attention.varlen on CUDA devices from sm_80 on, in float16 and bfloat16, for
    widths of at most 256 that divide by 8, without softcap; else `attention` on a padded batch
    with a mask. Compiled: the same, inline.
    Raises ValueError for shapes that do not fit, unequal dtypes or devices, maxima that are
    tensors, options out of range, and on the CPU for offsets that fall, end elsewhere or exceed a maximum.

    Dao, FlashAttention-2, 2023, arXiv:2307.08691, with the packing of its varlen functions.
    """
    q, k, v = autocast(q), autocast(k), autocast(v)
    sequences = Sequences(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
    refuse_bad_arguments(q, k, v, sequences, enable_gqa)
    refuse_bad_score_options("attention_varlen", scale, softcap, window)
    left, right = window or (-1, -1)
    if is_causal:
        right = 0 if right < 0 else min(right, 0)
    options = Options((left, right), scale, enable_gqa, softcap)
    if native.takes(q, k, v, options):
        return native.attention_varlen(q, k, v, sequences, options)
    return padded.attention_varlen(q, k, v, sequences, options)
