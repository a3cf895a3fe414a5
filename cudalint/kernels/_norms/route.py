"""Which way a norm of this folder takes: the reference, the dispatcher, or straight to the launch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels._dispatch import is_transformed, must_dispatch, needs_gradient
from cudalint.kernels._norms.reference import (
    Form,
    Operands,
    compute_dtype,
    fused_norm,
    natural_sum,
)
from cudalint.kernels._norms.registration import kernel_takes, launches, with_gradient


def norm(operands: Operands, form: Form) -> tuple[Tensor, Tensor]:
    """(y, h); h means nothing where there is no residual.

    While compiling plain torch, inline, for inductor to fuse with its neighbours. Under torch.func
    the reference, which knows all its transforms.
    """
    if torch.compiler.is_compiling():
        if operands.scale is None:
            return fused_norm(operands, form)
        if _sums_over_all_rows(operands):
            return _operator(operands, form)
        return _modulated(operands, form)
    if not kernel_takes(operands) or torch.float64 in form[-3:] or is_transformed():
        return fused_norm(operands, form)
    if must_dispatch(*operands):
        return _operator(operands, form)
    if not needs_gradient(*operands):
        y, h = launches().forward(operands, form)
        return y, h
    y, h = with_gradient(*operands, form)
    return y, h


def _operator(operands: Operands, form: Form) -> tuple[Tensor, Tensor]:
    y, h = torch.ops.cudalint.fused_norm(*operands, *form)
    return y, h


def _sums_over_all_rows(operands: Operands) -> bool:
    """Whether a gradient of the modulation is a sum over all rows.

    inductor makes such a sum in one kernel with the backward of a norm, and leaves it out of the
    gradient that a chunk's parts are joined to (torch 2.10 to mid-2026, pytorch/pytorch#193061).
    One operator then; sums for each sample are right.
    """
    columns = operands.x.shape[-1]
    modulation = (operands.gate, operands.scale, operands.shift)
    return any([t is not None and t.numel() == columns and needs_gradient(t) for t in modulation])


def _modulated(o: Operands, form: Form) -> tuple[Tensor, Tensor]:
    """As the reference, one rounding at the end, by torch's norms: inductor knows their backward.

    In the operands' own dtypes where they give the result's: inductor computes in float32 either
    way, and the gradients that it keeps in memory are then no wider than they would be by hand.
    """
    assert o.scale is not None
    h = o.x if o.residual is None else natural_sum(o.residual, o.x, o.gate, form.sum_dtype)
    weight, bias, wide = o.weight, o.bias, compute_dtype(*o)
    if _is_natural(o, h, form) and wide != torch.float64:
        wide = h.dtype
    weight, bias = (None if t is None else t.to(wide) for t in (weight, bias))
    if form.layer:
        y = F.layer_norm(h.to(wide), h.shape[-1:], weight, bias, form.eps)
    else:
        y = F.rms_norm(h.to(wide), h.shape[-1:], weight, form.eps)
    y = y * (form.scale_offset + o.scale)
    return (y if o.shift is None else y + o.shift).to(form.dtype), h


def _is_natural(o: Operands, h: Tensor, form: Form) -> bool:
    """Whether torch's promotion of the operands as they are is no narrower than the result."""
    if any([t is not None and t.dtype != h.dtype for t in (o.weight, o.bias)]):
        return False
    natural = h.dtype
    for t in (o.scale, o.shift):
        natural = natural if t is None else torch.promote_types(natural, t.dtype)
    return torch.promote_types(natural, form.dtype) == natural
