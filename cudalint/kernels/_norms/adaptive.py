"""The public functions of adaptive norms: ada_*, gated_residual, and the pair in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._checks import (
    refuse_unless_float_dtype,
    refuse_unless_floating,
    refuse_unless_same_device,
    refuse_without_dimensions,
)
from cudalint.kernels._dispatch import autocast_float32
from cudalint.kernels._norms import gated
from cudalint.kernels._norms.add_norm import broadcast, refuse_unless_broadcast
from cudalint.kernels._norms.layer_norm import refuse_bad_layer
from cudalint.kernels._norms.modulation import modulation
from cudalint.kernels._norms.reference import Form, Operands
from cudalint.kernels._norms.route import norm


def ada_layer_norm(
    x: Tensor,
    *,
    scale: Tensor,
    shift: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-6,
    scale_offset: float = 1.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Layer norm with a scale and shift of its own for each sample, as DiT modulates.

    ``layer_norm(x, weight, bias, eps) · (scale_offset + scale) + shift``, all in float32 (float64
    where an argument is float64), rounded once: to `dtype`, or to ``torch.result_type(x, scale)``,
    shift's dtype joining in; under CUDA's autocast to float32, as F.layer_norm gives it there.

    Shapes: `x` (B, ..., C), any strides; `scale` and `shift`, each for itself: (B, C), which is
    read as (B, 1, ..., C) and never as rows of (T, C); as many dimensions as `x`, each x's or 1, as
    (B, 1, C), (B, T, C), (1, 1, C); or (C,). Slices of a chunk are read in place. `shift` may be
    None. `weight` and `bias` (C,) or None; result as `x`.
    Dtypes: float32, float16, bfloat16; float64 computes in float64.
    Moves: forward 2 × the bytes of `x`, backward 3 ×; more for a `scale` as large as `x`.
    Gradients: to all tensors, those of what is broadcast summed in two fixed stages; once
    differentiable on a GPU and compiled, any order in the reference.
    Runs: Triton up to 8,192 columns, else the reference, and the reference under torch.func.
    Compiled: plain torch, inline, for inductor to fuse; one opaque operator where the gradient of
    the modulation is a sum over all rows, (C,) or (1, ..., C), as inductor's sums of chained
    modulated norms were wrong (torch 2.10 to mid-2026).
    Raises ValueError for tensors that are not floating or on another device, shapes that do not
    fit, and a `dtype` that is not floating.

    Peebles and Xie, Scalable Diffusion Models with Transformers, 2022, arXiv:2212.09748, adaLN.
    """
    refuse_bad_layer("ada_layer_norm", x, weight, bias)
    scale, shift = _modulations("ada_layer_norm", x, scale, shift)
    dtype = _result_dtype("ada_layer_norm", autocast_float32(x), scale, shift, dtype)
    form = Form(float(eps), 0.0, float(scale_offset), True, True, x.dtype, x.dtype, dtype)
    return norm(Operands(x, None, None, weight, bias, scale, shift), form)[0]


def ada_rms_norm(
    x: Tensor,
    *,
    scale: Tensor,
    shift: Tensor | None,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    scale_offset: float = 1.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """RMS norm with a scale and shift of its own for each sample.

    ``x · rsqrt(mean(x²) + eps) · weight · (scale_offset + scale) + shift``, all in float32 (float64
    where an argument is float64), rounded once: to `dtype`, or to ``torch.result_type(x, scale)``,
    shift's dtype joining in.

    Shapes, dtypes, bytes moved, gradients, errors and the behaviour under torch.compile are those
    of `ada_layer_norm`, without a bias; float64 computes in float64.

    Zhang and Sennrich, arXiv:1910.07467; the modulation of Peebles and Xie, arXiv:2212.09748, as
    Lumina-Next puts it on RMS norms, arXiv:2406.18583.
    """
    refuse_bad_layer("ada_rms_norm", x, weight, None)
    scale, shift = _modulations("ada_rms_norm", x, scale, shift)
    dtype = _result_dtype("ada_rms_norm", x.dtype, scale, shift, dtype)
    form = Form(float(eps), 0.0, float(scale_offset), False, True, x.dtype, x.dtype, dtype)
    return norm(Operands(x, None, None, weight, None, scale, shift), form)[0]


def gated_residual(
    residual: Tensor, y: Tensor, gate: Tensor, *, dtype: torch.dtype | None = None
) -> Tensor:
    """``residual + gate · y`` in float32, rounded once; `y` is the output of a sublayer.

    Shapes: `residual` and `y` (B, ..., C), any strides; where they are not equal they are
    broadcast, in the reference; `gate` as the scale of `ada_layer_norm`: (B, C), (B, 1, C),
    (B, T, C), (1, 1, C), (C,), slices of a chunk.
    Dtypes: float32, float16, bfloat16; float64 computes in float64. The result has `dtype`, or
    ``torch.result_type`` of the three: a float32 residual stays float32.
    Moves: forward 3 × the bytes of `y`, backward 3 ×, 4 × with gate's gradient.
    Gradients: to all three, gate's summed over what it is broadcast along.
    Runs: Triton up to 8,192 columns, else the reference, and the reference under torch.func.
    Compiled: the reference, inline.
    Raises ValueError for tensors that are not floating, 0-d or on another device, shapes that do
    not fit, and a `dtype` that is not floating.

    Peebles and Xie, Scalable Diffusion Models with Transformers, 2022, arXiv:2212.09748, adaLN-Zero.
    """
    gate, wide = _gate("gated_residual", residual, y, gate)
    if dtype is not None:
        refuse_unless_float_dtype("gated_residual", "dtype", dtype)
    return gated.add(residual, y, gate, dtype or wide)


def gated_residual_ada_layer_norm(
    residual: Tensor,
    y: Tensor,
    gate: Tensor,
    *,
    scale: Tensor,
    shift: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-6,
    scale_offset: float = 1.0,
    dtype: torch.dtype | None = None,
    residual_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """A gated residual and the adaptive norm of the next sublayer: ``(out, new_residual)``.

    ``new_residual = gated_residual(residual, y, gate, dtype=residual_dtype)`` and ``out =
    ada_layer_norm(new_residual, scale=scale, shift=shift, …)``; the norm reads the rounded sum.

    Shapes and dtypes as of the two functions; both results have the sum's shape; float64 computes
    in float64.
    Moves: forward 4 × the bytes of `y` instead of 5 ×, backward 6 ×.
    Gradients: to all tensors, from both results.
    Runs: one launch forward and one backward (and one that adds up), up to 8,192 columns, else the
    reference. Compiled: as `ada_layer_norm`.
    Raises ValueError as the two functions do.

    Peebles and Xie, Scalable Diffusion Models with Transformers, 2022, arXiv:2212.09748, adaLN-Zero.
    """
    function = "gated_residual_ada_layer_norm"
    gate, wide = _gate(function, residual, y, gate)
    if residual_dtype is not None:
        refuse_unless_float_dtype(function, "residual_dtype", residual_dtype)
    sum_dtype = residual_dtype or wide
    if residual.shape != y.shape:
        residual, y = broadcast(residual, y)
    refuse_bad_layer(function, y, weight, bias)
    scale, shift = _modulations(function, y, scale, shift)
    dtype = _result_dtype(function, autocast_float32(y, sum_dtype), scale, shift, dtype)
    form = Form(float(eps), 0.0, float(scale_offset), True, True, sum_dtype, sum_dtype, dtype)
    return norm(Operands(y, residual, gate, weight, bias, scale, shift), form)


def _modulations(
    function: str, x: Tensor, scale: Tensor, shift: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    scale = modulation(function, "scale", scale, x)
    return scale, None if shift is None else modulation(function, "shift", shift, x)


def _result_dtype(
    function: str,
    norm_dtype: torch.dtype,
    scale: Tensor,
    shift: Tensor | None,
    dtype: torch.dtype | None,
) -> torch.dtype:
    if dtype is not None:
        refuse_unless_float_dtype(function, "dtype", dtype)
        return dtype
    wide = torch.promote_types(norm_dtype, scale.dtype)
    return wide if shift is None else torch.promote_types(wide, shift.dtype)


def _gate(function: str, residual: Tensor, y: Tensor, gate: Tensor) -> tuple[Tensor, torch.dtype]:
    """`gate` as it broadcasts against the sum, and the sum's dtype."""
    for name, tensor in (("residual", residual), ("y", y)):
        refuse_unless_floating(function, name, tensor)
        refuse_without_dimensions(function, name, tensor)
    refuse_unless_same_device(function, "y", y, residual)
    if residual.shape != y.shape:
        refuse_unless_broadcast(function, "y", y, residual)
        gate = modulation(function, "gate", gate, broadcast(residual, y)[1])
    else:
        gate = modulation(function, "gate", gate, y)
    if residual.dtype == y.dtype == gate.dtype:
        return gate, y.dtype
    wide = torch.promote_types(residual.dtype, y.dtype)
    return gate, torch.promote_types(wide, gate.dtype)
