"""Refusals: each says which argument, which value, and what is accepted."""

from __future__ import annotations

import torch
from torch import Tensor

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
