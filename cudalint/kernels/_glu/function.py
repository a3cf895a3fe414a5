"""The public functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from cudalint.kernels._checks import (
    refuse_unless_among,
    refuse_unless_broadcastable,
    refuse_unless_floating,
    refuse_unless_same_device,
)
from cudalint.kernels._dispatch import (
    is_transformed,
    kernel_runs,
    must_dispatch,
    needs_gradient,
)
from cudalint.kernels._glu import reference, registration
from cudalint.kernels._glu.reference import Kind

Approximate = Literal["none", "tanh"]


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """The gated unit of Llama and its kin: ``silu(gate) · up``, silu(x) = x / (1 + exp(−x)).

    Computed in float32 (float64 where the result is) and rounded once; the form by hand,
    ``F.silu(gate) * up``, rounds silu(gate) as well.

    Shapes: `gate` and `up` of any shapes that broadcast together, any strides; the result has their
    broadcast shape.
    Dtypes: float32, float16, bfloat16; float64 and unequal shapes run the reference; the result has
    ``torch.result_type(gate, up)``, and is contiguous on a GPU.
    Moves: forward 3 × the bytes of `gate`, backward 5 ×. Keeps `gate` and `up` for the backward.
    Gradients: to `gate` and `up`, once differentiable on a GPU, any order in the reference.
    Compiled: the reference, inline, for inductor to fuse with its neighbours.
    Raises ValueError for tensors that are not floating, on two devices, or of shapes that do not
    broadcast.

    Shazeer, GLU Variants Improve Transformer, 2020, arXiv:2002.05202, section 2, SwiGLU with β = 1.
    """
    return _glu("swiglu", gate, up, "silu")


def geglu(gate: Tensor, up: Tensor, *, approximate: Approximate = "none") -> Tensor:
    """``gelu(gate) · up``; `approximate` as in ``F.gelu``: by erf ("none") or by tanh ("tanh").

    The two differ by up to 5e-4. Dtypes (float64 too), shapes, bytes moved, gradients and the
    behaviour under torch.compile are those of `swiglu`. Raises ValueError as `swiglu` does, and for
    another `approximate`.

    Shazeer, GLU Variants Improve Transformer, 2020, arXiv:2002.05202, section 2, GEGLU.
    """
    return _glu("geglu", gate, up, _gelu("geglu", approximate))


def swiglu_packed(x: Tensor, *, gate_first: bool = True) -> Tensor:
    """`swiglu` of the two halves of x's last dimension, read where they lie.

    Equals ``swiglu(*x.chunk(2, dim=-1))``, and with ``gate_first=False`` the same with the halves
    exchanged.

    Shapes: `x` (..., 2n), any strides; result (..., n).
    Dtypes: float32, float16, bfloat16; float64 runs the reference; the result has x's.
    Moves: forward 1.5 × the bytes of `x`, backward 2.5 ×: the gradient is written as one tensor.
    Gradients and the behaviour under torch.compile are those of `swiglu`.
    Raises ValueError for an `x` that is not floating, has no dimensions, or an odd last one.
    """
    return _packed("swiglu_packed", x, gate_first, "silu")


def geglu_packed(
    x: Tensor, *, gate_first: bool = True, approximate: Approximate = "none"
) -> Tensor:
    """`geglu` of the two halves of x's last dimension, read where they lie.

    Equals ``geglu(*x.chunk(2, dim=-1))``, and with ``gate_first=False`` the same with the halves
    exchanged: diffusers' GEGLU takes the second half for the gate. Shapes, dtypes (float64 too) and
    errors are those of `swiglu_packed`.
    """
    return _packed("geglu_packed", x, gate_first, _gelu("geglu_packed", approximate))


def _gelu(function: str, approximate: str) -> Kind:
    refuse_unless_among(function, "approximate", approximate, ("none", "tanh"))
    return "gelu" if approximate == "none" else "gelu_tanh"


def _glu(function: str, gate: Tensor, up: Tensor, kind: Kind) -> Tensor:
    refuse_unless_floating(function, "gate", gate)
    refuse_unless_floating(function, "up", up)
    refuse_unless_same_device(function, "up", up, gate)
    refuse_unless_broadcastable(function, gate=gate, up=up)
    if torch.compiler.is_compiling() or not registration.kernel_takes(gate, up):
        return reference.glu(gate, up, kind)
    y: Tensor
    if must_dispatch(gate, up):
        y = _dispatched()(gate, up, kind)
    elif needs_gradient(gate, up):
        y = registration.with_gradient(gate, up, kind)
    else:
        y = registration.launches().forward(gate, up, kind)
    return y


def _dispatched() -> Callable[..., Any]:
    return registration.TransformedGLU.apply if is_transformed() else torch.ops.cudalint.glu


def _packed(function: str, x: Tensor, gate_first: bool, kind: Kind) -> Tensor:
    refuse_unless_floating(function, "x", x)
    if x.dim() == 0 or x.shape[-1] % 2:
        raise ValueError(
            f"{function}: x has shape {tuple(x.shape)}; accepted: an even last dimension"
        )
    if torch.compiler.is_compiling() or not kernel_runs(x):
        return reference.glu_packed(x, gate_first, kind)
    y: Tensor = _packed_route(x)(x, bool(gate_first), kind)
    return y


def _packed_route(x: Tensor) -> Callable[..., Any]:
    if must_dispatch(x):
        operator = torch.ops.cudalint.glu_packed
        return registration.TransformedPackedGLU.apply if is_transformed() else operator
    return registration.packed_with_gradient if needs_gradient(x) else registration.run_packed
