"""A linear layer and its cross-entropy in plain torch: the specification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels._cross_entropy import reference as cross_entropy_reference
from cudalint.kernels._cross_entropy.reference import Options


def linear_cross_entropy(
    input: Tensor, weight: Tensor, target: Tensor, linear_bias: Tensor | None, options: Options
) -> Tensor:
    """The product in float32 (or float64), rounded to input's dtype as the layer's output is."""
    with torch.autocast(input.device.type, enabled=False):
        wide = torch.float64 if input.dtype == torch.float64 else torch.float32
        bias = None if linear_bias is None else linear_bias.to(wide)
        logits = F.linear(input.to(wide), weight.to(wide), bias).to(input.dtype)
        return cross_entropy_reference.cross_entropy(logits, target, None, options)
