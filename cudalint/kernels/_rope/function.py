"""The public functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from cudalint.kernels._checks import (
    refuse_unless_among,
    refuse_unless_broadcastable,
    refuse_unless_float_dtype,
    refuse_unless_floating,
    refuse_unless_same_device,
)
from cudalint.kernels._dispatch import is_transformed, must_dispatch, needs_gradient
from cudalint.kernels._rope import reference, registration
from cudalint.kernels._rope.reference import Form

Layout = Literal["half", "interleaved"]
Table = Literal["full", "half"]


def apply_rope(
    q: Tensor,
    k: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    layout: Layout = "half",
    table: Table = "full",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Rotary position embedding of `q` and of `k`: each pair (a, b) is turned by its angle.

    - ``layout="half"``: ``x · cos + cat(−x₂, x₁) · sin`` with x₁, x₂ the halves of `x`, as Llama
      and GPT-NeoX do; ``"interleaved"``: the pairs are elements 2i and 2i + 1, as GPT-J and the
      complex form of Llama's authors do.
    - ``table="full"``: the last dimension of `cos` and `sin` is the rotary width R, and both
      numbers of a pair are read; ``"half"``: it is R / 2, one number a pair
      (``freqs_cis.real, freqs_cis.imag``).

    The first R elements are turned, the others copied. `cos` and `sin` broadcast against `q` and
    `k` as they come: the caller writes the ``unsqueeze``. Code with the opposite sign
    (``x₁ · cos + x₂ · sin``) passes ``-sin``. Products are in float32 (float64 if any is), rounded
    once.

    Shapes: `q` (..., D), `k` (..., E) with D, E ≥ R, any strides (0 too); the results as `q` and
    `k`, broadcast with the tables.
    Dtypes: float32, float16, bfloat16; float64, tables that enlarge `q` or `k`, and tables that
    need a gradient run the reference; the results have `dtype`, or ``torch.result_type(q, cos)``
    and ``torch.result_type(k, cos)``.
    Moves: 2 × the bytes of `q` and `k` forward and the same backward, in one launch each. Keeps
    `cos` and `sin` for the backward, which is the rotation by ``-sin``.
    Gradients: to `q` and `k`, once differentiable on a GPU; to `cos` and `sin`, and any order, in
    the reference.
    Compiled: the reference, inline, for inductor to fuse with its neighbours.
    Raises ValueError for tensors that are not floating or on several devices, an unknown `layout`
    or `table`, tables that are unequal, odd or wider than `q` or `k`, and shapes that do not
    broadcast.

    Su et al., RoFormer, 2021, arXiv:2104.09864, equation 34.
    """
    form = _form("apply_rope", cos, sin, layout, table, dtype)
    for name, x in (("q", q), ("k", k)):
        _refuse_bad_operand("apply_rope", name, x, cos, form)
    dtypes = (reference.result_dtype(q, cos, dtype), reference.result_dtype(k, cos, dtype))
    if _kernel_takes((q, k), cos, sin, dtypes):
        turned: tuple[Tensor, Tensor] = _route(q, k, cos)(q, k, cos, sin, *form, *dtypes)
        return turned
    turned_q = reference.rope(q, cos, sin, form, dtypes[0])
    return turned_q, reference.rope(k, cos, sin, form, dtypes[1])


def rope(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    layout: Layout = "half",
    table: Table = "full",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """`apply_rope` of a single tensor; all that is said there (of float64 too) holds for `x`."""
    form = _form("rope", cos, sin, layout, table, dtype)
    _refuse_bad_operand("rope", "x", x, cos, form)
    dtype = reference.result_dtype(x, cos, dtype)
    if _kernel_takes((x,), cos, sin, (dtype,)):
        y: Tensor = _route(x, None, cos)(x, None, cos, sin, *form, dtype, dtype)[0]
        return y
    return reference.rope(x, cos, sin, form, dtype)


def _kernel_takes(
    operands: tuple[Tensor, ...], cos: Tensor, sin: Tensor, dtypes: tuple[torch.dtype, ...]
) -> bool:
    """While compiling the reference is inlined; tables with gradients have no kernel."""
    if torch.compiler.is_compiling() or needs_gradient(cos, sin):
        return False
    pairs = zip(operands, dtypes, strict=True)
    return all([registration.kernel_takes(x, cos, dtype) for x, dtype in pairs])


def _route(q: Tensor, k: Tensor | None, cos: Tensor) -> Callable[..., Any]:
    if must_dispatch(q, k, cos):
        operator = torch.ops.cudalint.apply_rope
        return registration.TransformedRope.apply if is_transformed() else operator
    return registration.with_gradient if needs_gradient(q, k) else registration.launched


def _form(
    function: str, cos: Tensor, sin: Tensor, layout: str, table: str, dtype: torch.dtype | None
) -> Form:
    """The checks of all but the tensors to turn."""
    refuse_unless_among(function, "layout", layout, ("half", "interleaved"))
    refuse_unless_among(function, "table", table, ("full", "half"))
    if dtype is not None:
        refuse_unless_float_dtype(function, "dtype", dtype)
    refuse_unless_floating(function, "cos", cos)
    refuse_unless_same_device(function, "sin", sin, cos)
    if sin.dtype != cos.dtype or sin.shape != cos.shape:
        raise ValueError(
            f"{function}: sin has shape {tuple(sin.shape)} and dtype {sin.dtype}; accepted: those "
            f"of cos, {tuple(cos.shape)} and {cos.dtype}"
        )
    if cos.dim() == 0 or (table == "full" and cos.shape[-1] % 2):
        raise ValueError(
            f"{function}: cos has shape {tuple(cos.shape)}; accepted: an even last dimension, or "
            f"any with table='half'"
        )
    return Form(layout == "interleaved", table == "half")


def _refuse_bad_operand(function: str, name: str, x: Tensor, cos: Tensor, form: Form) -> None:
    refuse_unless_floating(function, name, x)
    refuse_unless_same_device(function, name, x, cos)
    width = reference.rotary_width(cos, form)
    if x.dim() == 0 or x.shape[-1] < width:
        raise ValueError(
            f"{function}: {name} has shape {tuple(x.shape)}; accepted: a last dimension of at "
            f"least {width}, the rotary width"
        )
    if not registration.table_fits(cos, x):
        refuse_unless_broadcastable(function, **{name: x[..., :1], "cos": cos[..., :1]})
