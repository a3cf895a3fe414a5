"""The norms with what stands round them, in plain torch: the specification.

One formula holds them all, each part optional::

    h = residual + gate · x          rounded to sum_dtype
    n = norm(h) · (weight_offset + weight) + bias
    y = n · (scale_offset + scale) + shift

Gate, scale and shift have as many dimensions as x and broadcast against it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Operands(NamedTuple):
    x: Tensor
    residual: Tensor | None = None
    gate: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None


class Form(NamedTuple):
    """Numbers and switches. `layer`: the mean is subtracted; else the root mean square.

    `late`: one rounding, at the end; else norm(h) is rounded to `norm_dtype` before the weight.
    `dtype` is that of y.
    """

    eps: float
    weight_offset: float
    scale_offset: float
    layer: bool
    late: bool
    sum_dtype: torch.dtype
    norm_dtype: torch.dtype
    dtype: torch.dtype


class Gradients(NamedTuple):
    """Of the sum h, and of each operand; x's is that of h times the gate."""

    h: Tensor
    x: Tensor
    gate: Tensor
    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor


def compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    double = any([t is not None and t.dtype == torch.float64 for t in tensors])
    return torch.float64 if double else torch.float32


def gated_sum(residual: Tensor, y: Tensor, gate: Tensor | None, dtype: torch.dtype) -> Tensor:
    """residual + gate · y, rounded once."""
    wide = compute_dtype(residual, y, gate)
    added = y.to(wide) if gate is None else gate.to(wide) * y.to(wide)
    return (residual.to(wide) + added).to(dtype)


def natural_sum(residual: Tensor, y: Tensor, gate: Tensor | None, dtype: torch.dtype) -> Tensor:
    """As `gated_sum`, for inductor: written in the operands' own dtypes where they give `dtype`.

    It computes in float32 either way; gradients that it keeps in memory are then as narrow.
    """
    natural = torch.promote_types(residual.dtype, y.dtype)
    if gate is not None:
        natural = torch.promote_types(natural, gate.dtype)
    if natural != dtype or compute_dtype(residual, y, gate) == torch.float64:
        return gated_sum(residual, y, gate, dtype)
    return residual + (y if gate is None else gate * y)


def fused_norm(operands: Operands, form: Form) -> tuple[Tensor, Tensor]:
    """(y, h); h is x where there is no residual."""
    o, h = operands, operands.x
    if o.residual is not None:
        h = gated_sum(o.residual, o.x, o.gate, form.sum_dtype)
    normed, _ = _normalized(h.to(compute_dtype(*o)), form)
    y = _affine(_rounded(normed, form), o, form)
    if o.scale is not None:
        y = y * (form.scale_offset + o.scale.to(y.dtype))
    if o.shift is not None:
        y = y + o.shift.to(y.dtype)
    return y.to(form.dtype), h


def fused_norm_backward(
    dy: Tensor, dh: Tensor | None, h: Tensor, operands: Operands, form: Form
) -> Gradients:
    """The gradients in the computation's dtype, not yet summed over what was broadcast.

    With r = 1/√(… + eps), x̂ = norm(h) and g = dy · (scale_offset + scale) · (weight_offset +
    weight): dh = r·(g − x̂·mean(g·x̂)), and for a layer norm also − r·mean(g).
    """
    o, wide = operands, compute_dtype(*operands)
    normed, r = _normalized(h.to(wide), form)
    rounded = _rounded(normed, form)
    dy = dy.to(wide)
    dn = dy if o.scale is None else dy * (form.scale_offset + o.scale.to(wide))
    g = dn if o.weight is None else dn * (form.weight_offset + o.weight.to(wide))
    inner = g - normed * (g * normed).mean(-1, keepdim=True)
    if form.layer:
        inner = inner - g.mean(-1, keepdim=True)
    total = r * inner if dh is None else r * inner + dh.to(wide)
    return Gradients(
        h=total,
        x=total if o.gate is None else total * o.gate.to(wide),
        gate=total * o.x.to(wide),
        weight=dn * rounded,
        bias=dn,
        scale=dy * _affine(rounded, o, form),
        shift=dy,
    )


def _normalized(h: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """norm(h), and what h, or h less its mean, was multiplied by."""
    if form.layer:
        h = h - h.mean(-1, keepdim=True)
    r = torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + form.eps)
    return h * r, r


def _rounded(normed: Tensor, form: Form) -> Tensor:
    return normed if form.late else normed.to(form.norm_dtype).to(normed.dtype)


def _affine(normed: Tensor, o: Operands, form: Form) -> Tensor:
    if o.weight is not None:
        normed = normed * (form.weight_offset + o.weight.to(normed.dtype))
    return normed if o.bias is None else normed + o.bias.to(normed.dtype)
