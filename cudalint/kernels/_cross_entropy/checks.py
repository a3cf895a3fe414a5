"""What cross_entropy and linear_cross_entropy refuse."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._checks import (
    refuse_unless_among,
    refuse_unless_floating,
    refuse_unless_same_device,
)
from cudalint.kernels._cross_entropy.reference import Options

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def refuse_bad_options(function: str, options: Options) -> None:
    refuse_unless_among(function, "reduction", options.reduction, ("mean", "sum", "none"))
    if not 0.0 <= options.label_smoothing <= 1.0:
        raise ValueError(
            f"{function}: label_smoothing is {options.label_smoothing}; accepted: 0 to 1"
        )
    if options.softcap is not None and not options.softcap > 0.0:
        raise ValueError(
            f"{function}: softcap is {options.softcap}; accepted: None or a positive number"
        )


def refuse_bad_logits(function: str, logits: Tensor) -> None:
    refuse_unless_floating(function, "logits", logits)
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"{function}: logits has shape {tuple(logits.shape)}; accepted: at least one class in "
            f"the last dimension"
        )


def refuse_bad_target(function: str, target: Tensor, rows: torch.Size, first: Tensor) -> None:
    """`rows`: the shape of the logits but for the classes."""
    refuse_unless_same_device(function, "target", target, first)
    if target.dtype not in INTEGERS:
        raise ValueError(
            f"{function}: target has dtype {target.dtype}; accepted: an integer dtype, or "
            f"probabilities with the shape of the logits in cross_entropy"
        )
    if target.shape != rows:
        raise ValueError(
            f"{function}: target has shape {tuple(target.shape)}; accepted: {tuple(rows)}, the "
            f"logits' without their last dimension"
        )


def refuse_bad_probabilities(
    function: str, target: Tensor, logits: Tensor, options: Options
) -> None:
    refuse_unless_floating(function, "target", target)
    refuse_unless_same_device(function, "target", target, logits)
    if options.ignore_index >= 0:
        raise ValueError(
            f"{function}: ignore_index is {options.ignore_index}; accepted with probabilities as "
            f"targets: a negative number, which ignores nothing"
        )


def refuse_bad_weight(function: str, weight: Tensor, logits: Tensor) -> None:
    refuse_unless_floating(function, "weight", weight)
    refuse_unless_same_device(function, "weight", weight, logits)
    if weight.shape != logits.shape[-1:]:
        raise ValueError(
            f"{function}: weight has shape {tuple(weight.shape)}; accepted: "
            f"({logits.shape[-1]},), one number a class"
        )
