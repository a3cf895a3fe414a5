"""Cross-entropy in plain torch: the specification, and what runs where no kernel does."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Options(NamedTuple):
    """The numbers and switches of one cross-entropy, under the names of the public function."""

    ignore_index: int
    label_smoothing: float
    reduction: str
    softcap: float | None
    z_loss: float


def cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> Tensor:
    """In float32, or float64 for float64 logits; so is the loss."""
    wide = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    if options.softcap is not None:
        wide = options.softcap * torch.tanh(wide / options.softcap)
    weight = None if weight is None else weight.to(wide.dtype)
    if target.is_floating_point():
        return _of_probabilities(wide, target.to(wide.dtype), weight, options)
    kept = target != options.ignore_index
    # A row that is ignored has no part, whatever its numbers: 0 · NaN would be one.
    wide = wide.masked_fill(~kept.unsqueeze(-1), 0.0)
    losses, shares = _of_classes(wide, target.masked_fill(~kept, 0).long(), weight, options)
    losses = losses.masked_fill(~kept, 0.0)
    if options.reduction == "none":
        return losses
    if options.reduction == "sum":
        return losses.sum()
    return losses.sum() / shares.masked_fill(~kept, 0.0).sum()


def _of_classes(
    x: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[Tensor, Tensor]:
    """The loss of each row, and what it counts for in the mean."""
    shifted, log_sum, z = _normalizer(x, options)
    smoothing, index = options.label_smoothing, target.unsqueeze(-1)
    losses = log_sum - shifted.gather(-1, index).squeeze(-1)
    shares = torch.ones_like(losses) if weight is None else weight[target]
    losses = (1.0 - smoothing) * losses * shares
    if smoothing:
        each = log_sum.unsqueeze(-1) - shifted
        each = each if weight is None else each * weight
        losses = losses + smoothing / x.shape[-1] * each.sum(-1)
    return losses + z * shares, shares


def _of_probabilities(x: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    shifted, log_sum, z = _normalizer(x, options)
    smoothing = options.label_smoothing
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / x.shape[-1]
    each = (log_sum.unsqueeze(-1) - shifted) * target
    each = each if weight is None else each * weight
    losses = each.sum(-1) + z
    if options.reduction == "none":
        return losses
    return losses.sum() if options.reduction == "sum" else losses.mean()


def _normalizer(x: Tensor, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """x − max x, log Σ exp(x − max x), and z_loss · (log Σ exp x)² of each row."""
    # A shift changes nothing, so the maximum carries no gradient.
    highest = x.detach().amax(-1, keepdim=True)
    shifted = x - highest
    log_sum = shifted.exp().sum(-1).log()
    if not options.z_loss:
        return shifted, log_sum, torch.zeros_like(log_sum)
    return shifted, log_sum, options.z_loss * (log_sum + highest.squeeze(-1)).square()
