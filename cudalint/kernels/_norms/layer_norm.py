"""The public function layer_norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels._checks import (
    refuse_unless_floating,
    refuse_unless_vector,
    refuse_without_dimensions,
)
from cudalint.kernels._dispatch import autocast_float32, is_transformed, kernel_runs
from cudalint.kernels._norms.reference import Form, Operands
from cudalint.kernels._norms.registration import MOST_COLUMNS
from cudalint.kernels._norms.route import norm


def layer_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalization over the last dimension: ``(x − mean) / sqrt(var + eps) · weight + bias``.

    The variance is the biased one; mean, variance and product are in float32 (float64 where an
    argument is float64), rounded once at the end. Equals ``F.layer_norm(x, (n,), weight, bias,
    eps)``, and takes weights of another dtype than `x` too. The result has x's dtype, or float32
    where CUDA's autocast is on and `x` is float16 or bfloat16, as F.layer_norm gives.

    Shapes: `x` (..., n), any strides; `weight` and `bias` (n,) or None; result as `x`.
    Dtypes: float32, float16, bfloat16; float64 computes in float64.
    Moves: forward 2 × the bytes of `x`, backward 3 ×.
    Gradients: to `x`, `weight` and `bias`; once differentiable in the kernel, else any order.
    Runs: Triton from 32,769 elements on in rows of up to 8,192; below, beyond, on the CPU and
    compiled F.layer_norm where the dtypes are one, else the reference.
    Raises ValueError for tensors that are not floating, a 0-d `x`, and a `weight` or `bias` of
    another shape or device.

    Ba, Kiros and Hinton, Layer Normalization, 2016, arXiv:1607.06450, equation 4.
    """
    refuse_bad_layer("layer_norm", x, weight, bias)
    if _is_torchs(x, weight, bias):
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    dtype = autocast_float32(x)
    form = Form(float(eps), 0.0, 0.0, True, True, x.dtype, x.dtype, dtype)
    return norm(Operands(x, weight=weight, bias=bias), form)[0]


# Below, F.layer_norm takes as long on the GPU and less on the host.
FEWEST_ELEMENTS = 2**15


def _is_torchs(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> bool:
    if not all([t is None or t.dtype == x.dtype for t in (weight, bias)]):
        return False
    if torch.compiler.is_compiling() or not kernel_runs(x) or is_transformed():
        return True
    return x.shape[-1] > MOST_COLUMNS or x.numel() <= FEWEST_ELEMENTS


def refuse_bad_layer(function: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    refuse_unless_floating(function, "x", x)
    refuse_without_dimensions(function, "x", x)
    if weight is not None:
        refuse_unless_vector(function, "weight", weight, x)
    if bias is not None:
        refuse_unless_vector(function, "bias", bias, x)
