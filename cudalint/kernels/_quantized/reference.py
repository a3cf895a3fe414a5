"""Linear layers with integer weights in plain torch: the specification."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels._dispatch import must_dispatch
from cudalint.kernels._quantized.layouts import unpack_weight, unpack_zeros

# Where int4 has no zeros: the middle of 0 to 15.
MIDDLE = 8


class Weight(NamedTuple):
    """A quantized weight; `layouts` says how it lies in memory."""

    qweight: Tensor
    scales: Tensor
    zeros: Tensor | None
    group_index: Tensor | None
    group_size: int
    layout: str


def features(weight: Weight) -> tuple[int, int]:
    """(N, K)."""
    rows, cols = weight.qweight.shape
    if weight.layout == "int8":
        return rows, cols
    return (cols * 8, rows) if weight.layout == "awq" else (cols, rows * 8)


def expanded(weight: Weight, dtype: torch.dtype) -> Tensor:
    """The weight (N, K), each element rounded once, to `dtype`."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    scales = weight.scales.to(wide)
    if weight.layout == "int8":
        scales = _scales_of_columns(scales, weight.group_size)
        if dtype == wide or torch.compiler.is_compiling() or must_dispatch(weight.qweight, scales):
            return (weight.qweight * scales).to(dtype)
        made = torch.empty(weight.qweight.shape, dtype=dtype, device=scales.device)
        return torch.mul(weight.qweight, scales, out=made)  # in float32, in one pass
    values = unpack_weight(weight.qweight, weight.layout)
    zeros: Tensor | int = MIDDLE
    index = weight.group_index
    if index is None:
        index = torch.arange(values.shape[0], device=values.device) // weight.group_size
    if weight.zeros is not None:
        zeros = unpack_zeros(weight.zeros, weight.layout)[index]
    return ((values - zeros).to(wide) * scales[index]).to(dtype).t()


def _scales_of_columns(scales: Tensor, group_size: int) -> Tensor:
    """Scales as they broadcast against (N, K): a group as long as the row is not repeated."""
    if scales.dim() == 1:
        return scales[:, None]
    return scales if scales.shape[1] == 1 else scales.repeat_interleave(group_size, dim=1)


def linear(x: Tensor, weight: Weight, bias: Tensor | None) -> Tensor:
    """x · weightᵀ + bias in float32, rounded once to x's dtype; on a GPU by its dtype's product."""
    with torch.autocast(x.device.type, enabled=False):
        wide = torch.promote_types(x.dtype, torch.float32)
        if x.is_cuda:
            wide = x.dtype
        bias = None if bias is None else bias.to(wide)
        return F.linear(x.to(wide), expanded(weight, wide), bias).to(x.dtype)


def linear_backward(dy: Tensor, weight: Weight) -> Tensor:
    """dx = dy · weight."""
    wide = dy.dtype if dy.is_cuda else torch.promote_types(dy.dtype, torch.float32)
    return (dy.to(wide) @ expanded(weight, wide)).to(dy.dtype)
