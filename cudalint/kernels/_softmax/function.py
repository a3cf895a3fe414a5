"""The public functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._checks import refuse_unless_float_dtype, refuse_unless_floating
from cudalint.kernels._dispatch import (
    HALF_OR_SINGLE,
    MOST_COLUMNS,
    autocast_float32,
    is_transformed,
    kernel_runs,
    must_dispatch,
    needs_gradient,
)
from cudalint.kernels._softmax import reference
from cudalint.kernels._softmax.registration import TransformedSoftmax, run_forward, with_gradient

# Up to here inductor's own softmax, fused with its neighbours, is the better one.
MOST_COLUMNS_INLINE = 1024


def softmax(x: Tensor, dim: int = -1, *, dtype: torch.dtype | None = None) -> Tensor:
    """Softmax over `dim`: ``exp(x − max x) / Σ exp(x − max x)``, in float32 inside.

    Equals ``torch.softmax(x, dim, dtype)``: with `dtype`, `x` is rounded to it first and the result
    has it; without, the result has x's dtype, or float32 where CUDA's autocast is on and `x` is
    float16 or bfloat16. float64 computes in float64. NaN propagates, as do rows of −inf (NaN).

    Shapes: `x` of any shape and strides, rows of any length; the result is contiguous on a GPU.
    Dtypes: float32, float16, bfloat16; float64 (`x` or `dtype`) runs the reference, and another
    dimension than the last goes to torch's own softmax.
    Moves: forward 2 × the bytes of `x`, backward 3 ×. Keeps the result for the backward.
    Gradients: once differentiable on a GPU, any order in the reference.
    Compiled: over 1,024 columns one opaque operator, else the reference, inline.
    Raises ValueError for an `x` or `dtype` that is not floating, and for a `dim` out of range.

    Milakov and Gimelshein, Online normalizer calculation for softmax, 2018, arXiv:1805.02867.
    """
    return _normalized("softmax", x, dim, dtype, log=False)


def log_softmax(x: Tensor, dim: int = -1, *, dtype: torch.dtype | None = None) -> Tensor:
    """The logarithm of softmax over `dim`: ``x − max x − log Σ exp(x − max x)``.

    Equals ``torch.log_softmax(x, dim, dtype)``. Dtypes, shapes, bytes moved, gradients, errors and
    the behaviour under torch.compile are those of `softmax`.
    """
    return _normalized("log_softmax", x, dim, dtype, log=True)


def _normalized(function: str, x: Tensor, dim: int, dtype: torch.dtype | None, log: bool) -> Tensor:
    _refuse_bad_arguments(function, x, dim, dtype)
    dtype = autocast_float32(x) if dtype is None else dtype
    last = dim == -1 or dim == x.dim() - 1
    if not _kernel_takes(x, dtype):
        return reference.softmax(x, dim, dtype, log)
    if torch.compiler.is_compiling():
        if not last or x.shape[-1] <= MOST_COLUMNS_INLINE:
            return reference.softmax(x, dim, dtype, log)
        opaque: Tensor = torch.ops.cudalint.softmax(x, dtype, log)
        return opaque
    if not last:
        return (torch.log_softmax if log else torch.softmax)(x, dim, dtype=dtype)
    y: Tensor = _route(x)(x, dtype, log)
    return y


def _route(x: Tensor) -> Callable[..., Any]:
    if must_dispatch(x):
        return TransformedSoftmax.apply if is_transformed() else torch.ops.cudalint.softmax
    return with_gradient if needs_gradient(x) else run_forward


def _kernel_takes(x: Tensor, dtype: torch.dtype) -> bool:
    if not kernel_runs(x) or dtype not in HALF_OR_SINGLE:
        return False
    return x.dim() > 0 and x.shape[-1] <= MOST_COLUMNS


def _refuse_bad_arguments(function: str, x: Tensor, dim: int, dtype: torch.dtype | None) -> None:
    refuse_unless_floating(function, "x", x)
    if dtype is not None:
        refuse_unless_float_dtype(function, "dtype", dtype)
    dims = max(x.dim(), 1)
    if not -dims <= dim < dims:
        raise ValueError(f"{function}: dim is {dim}; accepted: {-dims} to {dims - 1}")
