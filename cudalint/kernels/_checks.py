"""Refusals: each says which argument, which value, and what is accepted."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._dispatch import must_dispatch

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
ACCEPTED_FLOATS = "float32, float16, bfloat16 or float64"


def refuse_unless_floating(function: str, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in FLOATS:
        raise ValueError(
            f"{function}: {name} has dtype {tensor.dtype}; accepted: {ACCEPTED_FLOATS}"
        )


def refuse_unless_same_device(function: str, name: str, tensor: Tensor, first: Tensor) -> None:
    if tensor.device != first.device:
        raise ValueError(
            f"{function}: {name} is on {tensor.device}; accepted: the device of the first "
            f"argument, {first.device}"
        )


def refuse_unless_float_dtype(function: str, name: str, dtype: torch.dtype) -> None:
    if dtype not in FLOATS:
        raise ValueError(f"{function}: {name} is {dtype}; accepted: None, {ACCEPTED_FLOATS}")


def refuse_unless_vector(function: str, name: str, tensor: Tensor, x: Tensor) -> None:
    """A weight or bias: floating, on x's device, of the size of its last dimension."""
    refuse_unless_floating(function, name, tensor)
    refuse_unless_same_device(function, name, tensor, x)
    if tensor.dim() != 1 or tensor.shape[0] != x.shape[-1]:
        raise ValueError(
            f"{function}: {name} has shape {tuple(tensor.shape)}; accepted: ({x.shape[-1]},), the "
            f"last dimension of x"
        )


def refuse_without_dimensions(function: str, name: str, tensor: Tensor) -> None:
    if tensor.dim() == 0:
        raise ValueError(f"{function}: {name} has no dimensions; accepted: at least one")


def refuse_bad_cast(function: str, weight: Tensor | None, cast: str, weight_offset: float) -> None:
    """Of the RMS norms: a known `cast`, and an offset only where it means something."""
    if cast != "llama" and cast != "late":
        raise ValueError(f"{function}: cast is {cast!r}; accepted: 'llama' or 'late'")
    if weight_offset and (cast == "llama" or weight is None):
        raise ValueError(
            f"{function}: weight_offset is {weight_offset}; accepted: 0.0, or any number with "
            f"cast='late' and a weight"
        )


def refuse_unless_broadcastable(function: str, **tensors: Tensor) -> None:
    first, *others = tensors.values()
    if all([t.shape == first.shape for t in others]):
        return
    try:
        torch.broadcast_shapes(*[t.shape for t in tensors.values()])  # type: ignore[no-untyped-call]
    except RuntimeError:
        shapes = ", ".join(f"{name} has shape {tuple(t.shape)}" for name, t in tensors.items())
        raise ValueError(
            f"{function}: {shapes}; accepted: shapes that broadcast together"
        ) from None


def refuse_unless_among(function: str, name: str, value: object, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ValueError(
            f"{function}: {name} is {value!r}; accepted: {', '.join(map(repr, accepted))}"
        )


def can_be_read(tensor: Tensor) -> bool:
    """Whether a check may look at the values: on the CPU, where that waits for nothing."""
    if tensor.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return not must_dispatch(tensor)
