"""The public functions add_rms_norm and add_layer_norm."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cudalint.kernels._checks import (
    refuse_bad_cast,
    refuse_unless_float_dtype,
    refuse_unless_floating,
    refuse_unless_same_device,
    refuse_unless_vector,
    refuse_without_dimensions,
)
from cudalint.kernels._dispatch import autocast_float32, kernel_runs
from cudalint.kernels._norms.layer_norm import layer_norm
from cudalint.kernels._norms.reference import Form, Operands
from cudalint.kernels._norms.registration import MOST_COLUMNS
from cudalint.kernels._norms.route import norm
from cudalint.kernels._rms_norm.function import rms_norm


def add_rms_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    *,
    cast: Literal["llama", "late"] = "llama",
    weight_offset: float = 0.0,
    residual_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """``h = x + residual`` and its RMS norm: ``(rms_norm(h, weight, eps, …), h)``.

    The sum is made in float32 and rounded once, to ``torch.result_type(x, residual)``, as
    ``x + residual`` is; the norm reads the rounded sum. `cast`, `weight_offset` and the dtype of
    the first result are those of `rms_norm`. With `residual_dtype` h is rounded to that dtype
    instead, and the norm has the dtype that it would have for an `x` of x's dtype: so a residual
    stream is kept in float32 beside a bfloat16 network.

    Shapes: `x` and `residual` (..., n), any strides; shapes that are not equal are broadcast, in
    the reference; `weight` (n,) or None; both results have the sum's shape.
    Dtypes: float32, float16, bfloat16; float64 computes in float64.
    Moves: forward 4 × the bytes of `x`, backward 4 ×.
    Gradients: to `x`, `residual` and `weight`, from both results; once differentiable on a GPU, any
    order in the reference.
    Runs: Triton up to 8,192 columns; longer rows by `+` and `rms_norm`; the reference under torch.func and
    for a broadcast sum. Compiled: the reference, inline.
    Raises ValueError for tensors that are not floating, 0-d or on another device, shapes that do
    not broadcast, a `weight` of another shape, an unknown `cast`, a `weight_offset` where it has no
    meaning, and a `residual_dtype` that is not floating.

    The norm of `rms_norm`; the sum before it as in every pre-norm transformer block.
    """
    refuse_bad_cast("add_rms_norm", weight, cast, weight_offset)
    wide = _refuse_bad_sum("add_rms_norm", x, residual, weight, None, residual_dtype)
    if _is_apart(x, residual_dtype):
        h = x + residual
        return rms_norm(h, weight, eps, cast=cast, weight_offset=weight_offset), h
    norm_dtype = wide if residual_dtype is None else x.dtype
    late = cast == "late"
    dtype = norm_dtype
    if weight is not None and not late:
        dtype = torch.promote_types(norm_dtype, weight.dtype)
    form = Form(
        float(eps), float(weight_offset), 0.0, False, late, residual_dtype or wide, norm_dtype,
        dtype,
    )  # fmt: skip
    return norm(Operands(x, residual, weight=weight), form)


def add_layer_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    residual_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """``h = x + residual`` and its layer norm: ``(layer_norm(h, weight, bias, eps), h)``.

    The sum is made in float32 and rounded once, to ``torch.result_type(x, residual)``, as
    ``x + residual`` is; the norm reads the rounded sum and has its dtype, or float32 under CUDA's
    autocast. With `residual_dtype` h is rounded to that dtype instead, and the norm has x's: so a
    residual stream is kept in float32 beside a bfloat16 network.

    Shapes: `x` and `residual` (..., n), any strides; shapes that are not equal are broadcast, in
    the reference; `weight` and `bias` (n,) or None; both results have the sum's shape.
    Dtypes: float32, float16, bfloat16; float64 computes in float64.
    Moves: forward 4 × the bytes of `x`, backward 4 ×.
    Gradients: to `x`, `residual`, `weight` and `bias`, from both results; once differentiable on a
    GPU, any order in the reference.
    Runs: Triton up to 8,192 columns; longer rows by `+` and `layer_norm`; the reference under
    torch.func and for a broadcast sum. Compiled: the sum and the norm, inline.
    Raises ValueError for tensors that are not floating, 0-d or on another device, shapes that do
    not broadcast, a `weight` or `bias` of another shape, and a `residual_dtype` that is not
    floating.

    The norm of `layer_norm`; the sum before it as in every pre-norm transformer block.
    """
    wide = _refuse_bad_sum("add_layer_norm", x, residual, weight, bias, residual_dtype)
    if _is_apart(x, residual_dtype):
        h = x + residual
        return layer_norm(h, weight, bias, eps), h
    sum_dtype = residual_dtype or wide
    norm_dtype = wide if residual_dtype is None else x.dtype
    dtype = autocast_float32(x, norm_dtype)
    form = Form(float(eps), 0.0, 0.0, True, True, sum_dtype, norm_dtype, dtype)
    return norm(Operands(x, residual, weight=weight, bias=bias), form)


def _is_apart(x: Tensor, residual_dtype: torch.dtype | None) -> bool:
    """Whether the sum and the norm alone do as well: `x + residual` rounds the same.

    While compiling inductor makes one kernel of both, and knows torch's norms backwards; of rows
    that are too long the norm alone has a kernel.
    """
    if residual_dtype is not None:
        return False
    return torch.compiler.is_compiling() or (x.shape[-1] > MOST_COLUMNS and kernel_runs(x))


def _refuse_bad_sum(
    function: str,
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual_dtype: torch.dtype | None,
) -> torch.dtype:
    """The dtype of `x + residual`."""
    for name, tensor in (("x", x), ("residual", residual)):
        refuse_unless_floating(function, name, tensor)
        refuse_without_dimensions(function, name, tensor)
    refuse_unless_same_device(function, "residual", residual, x)
    if x.shape != residual.shape:
        refuse_unless_broadcast(function, "residual", residual, x)
    columns = x if x.shape[-1] >= residual.shape[-1] else residual
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None:
            refuse_unless_vector(function, name, vector, columns)
    if residual_dtype is not None:
        refuse_unless_float_dtype(function, "residual_dtype", residual_dtype)
    return torch.promote_types(x.dtype, residual.dtype)


def refuse_unless_broadcast(function: str, name: str, tensor: Tensor, x: Tensor) -> None:
    for a, b in zip(reversed(tensor.shape), reversed(x.shape), strict=False):
        if a != b and a != 1 and b != 1:
            raise ValueError(
                f"{function}: {name} has shape {tuple(tensor.shape)}; accepted: shapes that "
                f"broadcast with {tuple(x.shape)}, x's"
            )


def broadcast(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = torch.broadcast_tensors(a, b)  # type: ignore[no-untyped-call]
    return a, b
