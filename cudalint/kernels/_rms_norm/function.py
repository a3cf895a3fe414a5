"""The public function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from cudalint.kernels._checks import (
    refuse_bad_cast,
    refuse_unless_floating,
    refuse_unless_vector,
    refuse_without_dimensions,
)
from cudalint.kernels._dispatch import (
    MOST_COLUMNS,
    is_transformed,
    kernel_runs,
    must_dispatch,
    needs_gradient,
)
from cudalint.kernels._rms_norm import reference
from cudalint.kernels._rms_norm.reference import Form
from cudalint.kernels._rms_norm.registration import TransformedRMSNorm, launches, with_gradient


def rms_norm(
    x: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    *,
    cast: Literal["llama", "late"] = "llama",
    weight_offset: float = 0.0,
) -> Tensor:
    """Root mean square normalization over the last dimension.

    With ``x̂ = x · rsqrt(mean(x²) + eps)`` in float32 (float64 for float64 `x`):

    - ``cast="llama"``: ``weight · (x̂ rounded to x's dtype)``, as Llama, Mistral, Qwen and T5 with
      half weights do. The result has the dtype ``torch.result_type(x, weight)``: float32 for
      bfloat16 `x` and float32 `weight`.
    - ``cast="late"``: ``x̂ · (weight_offset + weight)``, rounded once to x's dtype. Equals
      ``F.rms_norm(x, (n,), weight, eps)``; Gemma is this with ``weight_offset=1``.

    Shapes: `x` (..., n), any strides; `weight` (n,) or None for no scaling; result as `x`, with
    the strides of ``torch.empty_like(x)``.
    Dtypes: float32, float16, bfloat16; float64 (`x` or `weight`) runs the reference.
    Moves: forward 2 × the bytes of `x`, backward 3 ×. No copy in float32 is stored, and nothing but
    `x` and `weight` is kept for the backward.
    Gradients: to `x` and `weight`, once differentiable on a GPU, any order in the reference.
    Compiled: the reference, inline, for inductor to fuse with its neighbours.
    Raises ValueError for tensors that are not floating, a 0-d `x`, a `weight` of another shape or
    device, an unknown `cast`, and a `weight_offset` where it has no meaning.

    Zhang and Sennrich, Root Mean Square Layer Normalization, 2019, arXiv:1910.07467, equation 4;
    casts as in transformers' LlamaRMSNorm and GemmaRMSNorm.
    """
    _refuse_bad_arguments(x, weight, cast, weight_offset)
    form = Form(float(eps), cast == "late", float(weight_offset))
    if torch.compiler.is_compiling() or not _kernel_takes(x, weight):
        return reference.rms_norm(x, weight, *form)
    y: Tensor
    if must_dispatch(x, weight):
        y = _dispatched()(x, weight, *form)
    elif needs_gradient(x, weight):
        y = with_gradient(x, weight, form)
    else:
        y = launches().forward(x, weight, form)
    return y


def _dispatched() -> Callable[..., Any]:
    return TransformedRMSNorm.apply if is_transformed() else torch.ops.cudalint.rms_norm


def _kernel_takes(x: Tensor, weight: Tensor | None) -> bool:
    if not kernel_runs(x) or x.shape[-1] > MOST_COLUMNS:
        return False
    return weight is None or weight.dtype != torch.float64


def _refuse_bad_arguments(
    x: Tensor, weight: Tensor | None, cast: str, weight_offset: float
) -> None:
    refuse_unless_floating("rms_norm", "x", x)
    refuse_without_dimensions("rms_norm", "x", x)
    refuse_bad_cast("rms_norm", weight, cast, weight_offset)
    if weight is not None:
        refuse_unless_vector("rms_norm", "weight", weight, x)
