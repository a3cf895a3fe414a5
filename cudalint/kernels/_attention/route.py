"""Which calls the own kernel takes, and the form that it takes them in."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._attention import dropout, registration
from cudalint.kernels._attention.blocks import WIDEST
from cudalint.kernels._attention.call import Extras, Form, near_rows
from cudalint.kernels._attention.native import four_dimensional, mask_four_dimensional
from cudalint.kernels._attention.reference import Options
from cudalint.kernels._dispatch import (
    is_transformed,
    kernel_runs,
    must_dispatch,
    needs_gradient,
)

# Lengths are counted in 32 bits, a tile past the last and the window included.
LONGEST = 2**30


def kernel_takes(query: Tensor, key: Tensor, value: Tensor, options: Options) -> bool:
    """Whether the own kernel has the case; the reference has the others."""
    if not kernel_runs(query) or not 0 < max(query.shape[-1], value.shape[-1]) <= WIDEST:
        return False
    if not query.numel() or not key.numel() or not value.numel() or options.dropout_p == 1.0:
        return False
    if max(query.shape[-2], key.shape[-2]) > LONGEST or needs_gradient(options.alibi_slopes):
        return False
    if options.bias is not None and needs_gradient(options.attn_mask):
        return False
    return torch.cuda.get_device_capability(query.device)[0] >= 8


def attention(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    q, k, v = (four_dimensional(near_rows(t)) for t in (query, key, value))
    bias, mask = (_mask(m, query) for m in (options.bias, options.attn_mask))
    if needs_gradient(mask):  # what is added to the scores is their bias
        bias, mask = mask, None
    seed = dropout.seed(query) if options.dropout_p else None
    extras = Extras(bias, mask, options.alibi_slopes, options.sinks, seed)
    out = _run(q, k, v, *extras, *_form(options))
    return out if query.dim() == 4 else out.reshape(*query.shape[:-1], value.shape[-1])


def _run(*inputs: object) -> Tensor:
    tensors = [t for t in inputs if isinstance(t, Tensor)]
    if torch.compiler.is_compiling() or (must_dispatch(*tensors) and not is_transformed()):
        out: Tensor = torch.ops.cudalint.attention(*inputs)[0]
    elif must_dispatch(*tensors):
        out = registration.TransformedAttention.apply(*inputs)[0]  # type: ignore[no-untyped-call]
    elif needs_gradient(*tensors):
        out = registration.Attention.apply(*inputs)  # type: ignore[no-untyped-call]
    else:
        out = registration.run_forward(*inputs)[0]  # type: ignore[arg-type]
    return out


def _form(options: Options) -> Form:
    """The causal mask is a window that ends at the query."""
    left, right = options.window or (-1, -1)
    if options.is_causal:
        right = 0
    softcap = None if options.softcap is None else float(options.softcap)
    scale = None if options.scale is None else float(options.scale)
    bottom_right = options.causal_align == "bottom-right"
    return Form(scale, softcap, left, right, bottom_right, float(options.dropout_p))


def _mask(mask: Tensor | None, query: Tensor) -> Tensor | None:
    if mask is not None and mask.dtype == torch.float64:
        mask = mask.float()
    if mask is None or query.dim() <= 4:
        return mask
    return mask_four_dimensional(mask, query)
