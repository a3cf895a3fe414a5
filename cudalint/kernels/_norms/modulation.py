"""Scale, shift and gate: how they broadcast against what they modulate."""

from __future__ import annotations

from torch import Tensor

from cudalint.kernels._checks import refuse_unless_floating, refuse_unless_same_device


def modulation(function: str, name: str, tensor: Tensor, x: Tensor) -> Tensor:
    """`tensor` with as many dimensions as `x`: (B, C) belongs to the B of (B, ..., C)."""
    refuse_unless_floating(function, name, tensor)
    refuse_unless_same_device(function, name, tensor, x)
    view = tensor
    if tensor.dim() == 1 < x.dim():
        view = tensor.reshape((1,) * (x.dim() - 1) + tuple(tensor.shape))
    elif tensor.dim() == 2 < x.dim():
        view = tensor[(slice(None),) + (None,) * (x.dim() - 2)]
    if not _fits(view, x):
        raise ValueError(
            f"{function}: {name} has shape {tuple(tensor.shape)}; accepted: {_accepted(x)}, for x "
            f"of shape {tuple(x.shape)}"
        )
    return view


def _fits(view: Tensor, x: Tensor) -> bool:
    if view.dim() != x.dim() or view.shape[-1] != x.shape[-1]:
        return False
    return all([n == m or n == 1 for n, m in zip(view.shape, x.shape, strict=True)])


def _accepted(x: Tensor) -> str:
    columns = x.shape[-1]
    if x.dim() == 1:
        return f"({columns},)"
    leading = ", ".join(f"1 or {n}" for n in x.shape[:-1])
    batch = f"({x.shape[0]}, {columns}), " if x.dim() > 2 else ""
    return f"({columns},), {batch}({leading}, {columns})"
