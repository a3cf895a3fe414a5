"""The public functions quantize_int8 and quantize_int4: weights as the linear layers read them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cudalint.kernels._checks import refuse_unless_floating
from cudalint.kernels._quantized.layouts import INT4_LAYOUTS, pack_weight, pack_zeros
from cudalint.kernels._quantized.reference import MIDDLE


def quantize_int8(weight: Tensor, group_size: int | None = None) -> tuple[Tensor, Tensor]:
    """(qweight, scales) of a weight (N, K), for `int8_linear`: ``round(weight / scale)``.

    A scale is the largest magnitude of an output, or of `group_size` inputs of it, over 127: the
    integers are −127 to 127, the error of an element at most half a scale, but for the scale's own
    rounding. An all-zero group has scale 1. `scales` has weight's dtype, (N,) or (N, K / group_size).
    float64 computes in float64, other dtypes in float32. No gradients.
    Raises ValueError for a `weight` that is not floating or not (N, K), and for a `group_size` that
    does not divide K.
    """
    inputs = _refuse_bad_weight("quantize_int8", weight, group_size)
    size = inputs if group_size is None else group_size
    groups = _wide(weight).reshape(weight.shape[0], -1, size)
    scales = _scale(groups.abs().amax(-1) / 127, weight.dtype)
    values = (groups / scales[..., None]).round().clamp(-127, 127).to(torch.int8)
    scales = scales.to(weight.dtype)
    return values.view(weight.shape), scales[:, 0] if group_size is None else scales


def quantize_int4(
    weight: Tensor,
    group_size: int = 128,
    *,
    layout: Literal["gptq", "gptq_v2", "awq"] = "gptq",
    symmetric: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """(qweight, scales, zeros) of a weight (N, K), for `int4_linear`, rounded to nearest.

    Of each group of `group_size` inputs of an output, −1 for all, the range from the lowest to the
    highest value, 0 included, is divided into 15 steps; `symmetric`: from minus to plus the largest
    magnitude into 14, with zero 8. Zeros are 1 to 15, since the first GPTQ format cannot store 0. An
    element's error is at most a scale, and half of one where `symmetric`, but for the scale's own
    rounding. `scales` (G, N) has weight's dtype; the shapes are those of `int4_linear`.
    This is plain rounding, without GPTQ's or AWQ's calibration: only their formats. float64 computes
    in float64, other dtypes in float32. No gradients.
    Raises ValueError for a `weight` that is not floating or not (N, K), sizes that are not multiples
    of 8, a `group_size` that does not divide K, and an unknown `layout`.
    """
    if layout not in INT4_LAYOUTS:
        raise ValueError(
            f"quantize_int4: layout is {layout!r}; accepted: 'gptq', 'gptq_v2' or 'awq'"
        )
    size = None if group_size == -1 else group_size
    inputs = _refuse_bad_weight("quantize_int4", weight, size)
    if any([n % 8 for n in weight.shape]):
        raise ValueError(
            f"quantize_int4: weight has shape {tuple(weight.shape)}; accepted: multiples of 8"
        )
    groups = _wide(weight).reshape(weight.shape[0], -1, inputs if size is None else size)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    if symmetric:
        scales = _scale(torch.maximum(-low, high) / 7, weight.dtype)
        zeros = torch.full_like(scales, MIDDLE)
    else:
        # zero is 1 at least: then 14 steps are left above it
        scales = _scale(torch.maximum((high - low) / 15, high / 14), weight.dtype)
        zeros = (-low / scales).round().clamp(1, 15)
    values = ((groups / scales[..., None]).round() + zeros[..., None]).clamp(0, 15)
    values = values.reshape(weight.shape).t()
    packed = pack_zeros(zeros.t().to(torch.int64), layout)
    return pack_weight(values, layout), scales.t().to(weight.dtype).contiguous(), packed


def _wide(weight: Tensor) -> Tensor:
    return weight.detach().to(torch.promote_types(weight.dtype, torch.float32))


def _scale(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """`scale` as it will be stored, so that the integers fit to that; 1 for 0."""
    stored = scale.to(dtype).to(scale.dtype)
    return torch.where(stored == 0, torch.ones_like(stored), stored)


def _refuse_bad_weight(function: str, weight: Tensor, group_size: int | None) -> int:
    refuse_unless_floating(function, "weight", weight)
    if weight.dim() != 2 or not weight.numel():
        raise ValueError(f"{function}: weight has shape {tuple(weight.shape)}; accepted: (N, K)")
    inputs = weight.shape[1]
    if group_size is not None and (group_size <= 0 or inputs % group_size):
        raise ValueError(
            f"{function}: group_size is {group_size}; accepted: a divisor of {inputs}, the inputs"
        )
    return inputs
