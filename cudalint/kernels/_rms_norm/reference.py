"""RMSNorm in plain torch: the specification, and what runs where no kernel does."""
# cudalint: file-ignore[CUF004]

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Form(NamedTuple):
    """The numbers and switches of one rms_norm."""

    eps: float
    late: bool
    weight_offset: float


def compute_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def result_dtype(x: Tensor, weight: Tensor | None, late: bool) -> torch.dtype:
    return x.dtype if late or weight is None else torch.result_type(x, weight)


def rms_norm(
    x: Tensor, weight: Tensor | None, eps: float, late: bool, weight_offset: float
) -> Tensor:
    wide = x.to(compute_dtype(x))
    normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    if weight is None:
        return normed.to(x.dtype)
    if late:
        return (normed * (weight_offset + weight.to(normed.dtype))).to(x.dtype)
    return weight * normed.to(x.dtype)


def rms_norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, eps: float, late: bool, weight_offset: float
) -> tuple[Tensor, Tensor]:
    """(dx, dweight); dweight is empty where there is no weight.

    With r = rsqrt(mean(x²) + eps), x̂ = x·r and g = dy·weight:
    dx = r·(g − x̂·mean(g·x̂)) and dweight = Σ dy·x̂ over the rows.
    """
    wide, dy = x.to(compute_dtype(x)), dy.to(compute_dtype(x))
    r = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    normed = wide * r
    factor = None if weight is None else weight.to(wide.dtype) + (weight_offset if late else 0.0)
    g = dy if factor is None else dy * factor
    dx = (r * (g - normed * (g * normed).mean(-1, keepdim=True))).to(x.dtype)
    if weight is None:
        return dx, x.new_empty(0)
    scaled = normed if late else normed.to(x.dtype).to(wide.dtype)
    dweight = (dy * scaled).reshape(-1, weight.numel()).sum(0)
    return dx, dweight.to(weight.dtype)
