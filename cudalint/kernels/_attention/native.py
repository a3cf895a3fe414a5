"""The route to torch's own scaled_dot_product_attention, brought into the form it is fast in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cudalint.kernels._attention import masks, written
from cudalint.kernels._attention.reference import Options, repeat_heads
from cudalint.kernels._dispatch import must_dispatch, needs_gradient

HALVES = (torch.bfloat16, torch.float16)
BUT_CUDNN = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def is_native(options: Options) -> bool:
    """Whether torch's own attention has the case."""
    return (
        options.softcap is None
        and (options.window is None or options.window == (-1, -1))
        and options.alibi_slopes is None
        and options.sinks is None
        and (options.bias is None or not options.dropout_p)
    )


def is_plain(query: Tensor, key: Tensor, value: Tensor, causal: bool, enable_gqa: bool) -> bool:
    """Whether the operands can go to torch as they are: told by a few cheap comparisons.

    A small call takes less time on the GPU than the full checks take on the host.
    """
    q, k = query.shape, key.shape
    if not query.is_cuda or len(q) != 4 or k != value.shape or len(k) != 4:
        return False
    if not query.dtype == key.dtype == value.dtype:
        return False
    if query.dtype not in HALVES and (query.dtype != torch.float32 or q[1] != k[1]):
        return False
    if query.dtype == torch.float32 and written.is_faster(query, key, causal):
        return False
    if q[0] != k[0] or q[3] != k[3] or not k[2] or query.get_device() != key.get_device():
        return False
    if q[1] != k[1] and not (enable_gqa and k[1] and q[1] % k[1] == 0):
        return False
    return query.stride(3) == key.stride(3) == value.stride(3) == 1 and value.is_cuda


def attention(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    mask, causal = _mask(query, key, options)
    if query.dim() > 2 and written.is_faster(query, key, causal):
        return written.attention(query, key, value, mask, options)
    if mask is not None and query.dim() > 4:
        mask = mask_four_dimensional(mask, query)
    q, k, v = (four_dimensional(_dense_last(t)) for t in (query, key, value))
    out = _scaled_dot_product(q, k, v, mask, causal, options)
    return out if query.dim() == 4 else out.reshape(*query.shape[:-1], value.shape[-1])


def _mask(query: Tensor, key: Tensor, options: Options) -> tuple[Tensor | None, bool]:
    """One mask of all the masks, and whether is_causal is still to be said."""
    mask = masks.both(options.bias, options.attn_mask)
    queries, keys = query.shape[-2], key.shape[-2]
    align = "top-left" if queries == keys else options.causal_align
    causal = options.is_causal and not (align == "bottom-right" and queries == 1)
    if causal and mask is None:
        if align == "top-left":
            return None, True
        if queries <= keys and query.is_cuda and not must_dispatch(query):
            from torch.nn.attention.bias import causal_lower_right  # imports torch's compiler

            return causal_lower_right(queries, keys), False
    if causal:
        mask = masks.both(mask, masks.visible(queries, keys, True, None, align, query.device))
    return mask if mask is None else _added(mask, query), False


def _added(mask: Tensor, query: Tensor) -> Tensor:
    """`mask` as SDPA's backends get it right: in query's dtype, and on a GPU as numbers to add.

    From a bool mask cuDNN makes −65504 for −inf, so that a query that sees nothing would see all
    (torch 2.11). The finite values of a wider dtype stay finite: a row of them is no masked row.
    """
    if mask.dtype == torch.bool:
        if not query.is_cuda:
            return mask
        return query.new_zeros(()).where(mask, -float("inf"))
    if mask.dtype == query.dtype:
        return mask
    lowest = max(torch.finfo(dtype).min for dtype in (query.dtype, mask.dtype))
    finite = mask.clamp(min=lowest).to(query.dtype)
    return finite.masked_fill(mask == -float("inf"), -float("inf"))


def _scaled_dot_product(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, options: Options
) -> Tensor:
    if mask is not None and mask.requires_grad and not torch.compiler.is_compiling():
        q = _with_gradient(q, k, v)
    avoid_cudnn = mask is not None and _cudnn_is_wrong(q, k, v, mask)
    grouped = options.enable_gqa
    if grouped and q.is_cuda and not _groups_are_fused(q, mask, avoid_cudnn):
        k, v, grouped = repeat_heads(k, q), repeat_heads(v, q), False

    def run() -> Tensor:
        return F.scaled_dot_product_attention(
            q, k, v, mask, options.dropout_p, causal, scale=options.scale, enable_gqa=grouped
        )

    if avoid_cudnn:
        with sdpa_kernel(BUT_CUDNN):
            return run()
    return run()


def _with_gradient(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`q`, as a leaf of its own where only the mask is to be differentiated.

    torch 2.11 keeps what the backward needs only if query, key or value want a gradient.
    """
    if q.is_cuda and torch.is_grad_enabled() and not needs_gradient(q, k, v):
        return q.detach().requires_grad_()
    return q


def _cudnn_is_wrong(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> bool:
    """cuDNN's backward with a mask gives NaN at lengths of 64 modulo 128 (torch 2.11 to 2.13)."""
    odd_half = q.shape[-2] % 128 == 64 or k.shape[-2] % 128 == 64
    return odd_half and q.is_cuda and needs_gradient(q, k, v, mask)


def _groups_are_fused(q: Tensor, mask: Tensor | None, avoid_cudnn: bool) -> bool:
    """Whether a fused backend takes fewer key heads: flash without a mask, cuDNN with one.

    Both want half precision, and cuDNN comes first from Hopper on. Else torch would take MATH,
    which writes the scores: repeating the keys costs far less.
    """
    if q.dtype == torch.float32:
        return False
    if mask is None:
        return True
    return not avoid_cudnn and not mask.requires_grad and _is_hopper_or_newer(q.device)


def _is_hopper_or_newer(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device)[0] >= 9


def _dense_last(t: Tensor) -> Tensor:
    """The fused backends take rows that are dense and nothing else."""
    return t if t.stride(-1) == 1 or t.shape[-1] == 1 else t.contiguous()


def four_dimensional(t: Tensor) -> Tensor:
    """The fused backends take (batch, heads, length, width) and nothing else."""
    if t.dim() == 4:
        return t
    if t.dim() < 4:
        return t[(None,) * (4 - t.dim())]
    return t.reshape(-1, *t.shape[-3:])


def mask_four_dimensional(mask: Tensor, query: Tensor) -> Tensor:
    """The leading dimensions of a mask that has them, merged as those of `query` are."""
    if mask.dim() < 4:
        return mask
    return mask.expand(*query.shape[:-3], *mask.shape[-3:]).reshape(-1, *mask.shape[-3:])
