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


def rows_forward(logits: Tensor, target: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """What the kernel computes: the loss of each row, and (2, ...) max x and log Σ exp(x − max x).

    Both of the second are kept, not their sum: in float32 a sum far from 0 has lost log Σ's digits.
    """
    x, _ = _capped(logits, options)
    kept = target != options.ignore_index
    highest = x.amax(-1)
    highest = highest.masked_fill(highest == -torch.inf, 0.0)
    log_sum = (x - highest.unsqueeze(-1)).exp().sum(-1).log()
    statistics = torch.stack((highest, log_sum)).masked_fill(~kept, 0.0)
    return cross_entropy(logits, target, None, options._replace(reduction="none")), statistics


def rows_backward(
    dlosses: Tensor, logits: Tensor, target: Tensor, statistics: Tensor, options: Options
) -> Tensor:
    """dx from the gradient of each row's loss."""
    x, slope = _capped(logits, options)
    kept = target != options.ignore_index
    highest, log_sum = statistics.unsqueeze(-1)
    index = target.masked_fill(~kept, 0).long().unsqueeze(-1)
    dx = (x - highest - log_sum).exp()
    if options.z_loss:
        dx = dx * (1.0 + 2.0 * options.z_loss * (highest + log_sum))
    smoothing = options.label_smoothing
    dx = dx - smoothing / x.shape[-1]
    dx = dx.scatter_add(-1, index, torch.full_like(dx, smoothing - 1.0))
    dx = torch.mul(dx * slope, dlosses.to(dx.dtype).unsqueeze(-1))
    return dx.masked_fill(~kept.unsqueeze(-1), 0.0).to(logits.dtype)


def _capped(logits: Tensor, options: Options) -> tuple[Tensor, Tensor | float]:
    """x in float32 or float64, and dx/dlogits."""
    x = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    if options.softcap is None:
        return x, 1.0
    share = torch.tanh(x / options.softcap)
    return options.softcap * share, 1.0 - share.square()


def share_of_each(target: Tensor, options: Options, like: Tensor) -> Tensor:
    """What a row counts for in the result: 1, or 1 / the number of rows that are not ignored."""
    if options.reduction != "mean":
        return torch.ones((), dtype=like.dtype, device=like.device)
    kept = torch.ne(target, options.ignore_index).sum()
    return kept.to(like.dtype).reciprocal()


def reduced(losses: Tensor, share: Tensor, options: Options) -> Tensor:
    if options.reduction == "none":
        return losses
    total: Tensor = losses.sum() * share  # 0 · ∞ is NaN, as the mean of nothing is
    return total
