"""Softmax and its logarithm in plain torch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def softmax(x: Tensor, dim: int, dtype: torch.dtype, log: bool) -> Tensor:
    wide = x.to(dtype).to(compute_dtype(dtype))
    if wide.numel() == 0:
        return wide.to(dtype, copy=True)
    # A shift changes nothing, so the maximum carries no gradient.
    shifted = wide - wide.detach().amax(dim, keepdim=True)
    if log:
        return (shifted - shifted.exp().sum(dim, keepdim=True).log()).to(dtype)
    e = shifted.exp()
    return (e / e.sum(dim, keepdim=True)).to(dtype)


def softmax_backward(dy: Tensor, y: Tensor, dtype: torch.dtype, log: bool) -> Tensor:
    """dx over the last dimension: y·(dy − Σ dy·y); of the logarithm: dy − exp(y)·Σ dy."""
    wide = compute_dtype(y.dtype)
    dy, y = dy.to(wide), y.to(wide)
    if log:
        return (dy - y.exp() * dy.sum(-1, keepdim=True)).to(dtype)
    return (y * (dy - (dy * y).sum(-1, keepdim=True))).to(dtype)
