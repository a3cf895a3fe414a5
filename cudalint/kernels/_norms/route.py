"""Which way a norm of this folder takes: the reference, the dispatcher, or straight to the launch."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._dispatch import is_transformed, must_dispatch, needs_gradient
from cudalint.kernels._norms.reference import Form, Operands, fused_norm
from cudalint.kernels._norms.registration import kernel_takes, launches, with_gradient


def norm(operands: Operands, form: Form, *, opaque: bool = False) -> tuple[Tensor, Tensor]:
    """(y, h); h means nothing where there is no residual.

    While compiling the reference, inline, for inductor to fuse with its neighbours; or with
    `opaque` one operator. Under torch.func the reference, which knows all its transforms.
    """
    if torch.compiler.is_compiling():
        return _operator(operands, form) if opaque else fused_norm(operands, form)
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
