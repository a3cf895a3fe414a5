"""The public function."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels._blocks import remembered
from cudalint.kernels._cross_entropy import checks, reference, registration
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._dispatch import (
    MOST_COLUMNS,
    is_transformed,
    kernel_runs,
    must_dispatch,
)

Reduction = Literal["mean", "sum", "none"]


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    softcap: float | None = None,
    z_loss: float = 0.0,
) -> Tensor:
    """Cross-entropy of `logits` against the classes `target`; the classes stand in the last dim.

    With ``x = logits``, or ``softcap · tanh(logits / softcap)``, in float32::

        loss = (1 − label_smoothing) · (lse − x[target]) + label_smoothing · mean(lse − x)
               + z_loss · lse²                                         lse = log Σ exp x

    Equals ``F.cross_entropy(logits.float(), …)`` with the classes last. A row whose target is
    `ignore_index` has loss 0 and gradient 0 whatever its logits; "mean" divides by the number of
    the others (their `weight` if there is one), and is NaN where there is none.

    Shapes: `logits` (..., C) and `target` (...), any strides: a shifted slice ``logits[:, :-1]`` is
    read in place; `weight` (C,). The loss has the shape of `target` for "none", else none.
    Dtypes: float32, float16, bfloat16 logits and integer targets; float64 logits, a `weight`, and
    probabilities (a `target` with the shape of `logits`) run the reference. The loss is float32
    whatever the logits are, and float64 for float64.
    Moves: forward the bytes of `logits`, backward 2 ×. No float32 copy of the logits is stored;
    `logits`, `target` and two numbers a row are kept for the backward.
    Gradients: to `logits`, once differentiable on a GPU; to `weight` and probabilities, and any
    order, in the reference. A target that is no class is an error: NaN in its row on a GPU.
    Compiled: one opaque operator for logits from 1 GB on; for less, where the host needs longer for
    it than the GPU, and for a `weight`, F.cross_entropy of the logits in float32, inline.
    Raises ValueError for dtypes, shapes and devices that do not fit, an unknown `reduction`, a
    `label_smoothing` outside 0 to 1, a `softcap` that is not positive, and `ignore_index` ≥ 0 with
    probabilities.

    Label smoothing of Szegedy et al., 2015, arXiv:1512.00567, section 7; z_loss of PaLM,
    arXiv:2204.02311, section 5; softcap of Gemma 2, arXiv:2408.00118, section 2.
    """
    if weight is None and not torch.compiler.is_compiling() and not must_dispatch(logits, target):
        key = (
            logits.shape, logits.stride(), logits.dtype, logits.get_device(), target.shape,
            target.stride(), target.dtype, target.get_device(), ignore_index, label_smoothing,
            reduction, softcap, z_loss,
        )  # fmt: skip
        known = _known.get(key)
        if known is None:
            options = _checked(
                logits, target, None, ignore_index, label_smoothing, reduction, softcap, z_loss
            )
            if not _kernel_takes(logits, target, None):
                return reference.cross_entropy(logits, target, None, options)
            known = remembered(_known)[key] = registration.Known(options)
        return _launched(logits, target, known)
    options = _checked(
        logits, target, weight, ignore_index, label_smoothing, reduction, softcap, z_loss
    )
    if torch.compiler.is_compiling() and _is_torchs(logits, target, weight, options):
        return _torchs(logits, target, weight, options)
    if not _kernel_takes(logits, target, weight):
        return reference.cross_entropy(logits, target, weight, options)
    loss: Tensor
    if is_transformed() and not torch.compiler.is_compiling():
        apply: Any = registration.TransformedCrossEntropy.apply
        loss = apply(logits, target, *options)[0]
    else:
        loss = torch.ops.cudalint.cross_entropy(logits, target, *options)[0]
    return loss


# Calls that have passed the checks and that the kernel takes.
_known: dict[tuple[object, ...], registration.Known] = {}


def _checked(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
    softcap: float | None,
    z_loss: float,
) -> Options:
    options = Options(
        ignore_index, float(label_smoothing), reduction,
        None if softcap is None else float(softcap), float(z_loss),
    )  # fmt: skip
    checks.refuse_bad_options("cross_entropy", options)
    checks.refuse_bad_logits("cross_entropy", logits)
    if target.is_floating_point() and target.shape == logits.shape:
        checks.refuse_bad_probabilities("cross_entropy", target, logits, options)
    else:
        checks.refuse_bad_target("cross_entropy", target, logits.shape[:-1], logits)
    if weight is not None:
        checks.refuse_bad_weight("cross_entropy", weight, logits)
    return options


# Bytes of logits that a GPU reads and writes three times in the host's time for two operators.
FEWEST_BYTES = 2**30


def _is_torchs(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> bool:
    """Whether inductor is to fuse the loss with its neighbours; probabilities and z_loss apart."""
    if target.is_floating_point() or options.z_loss or logits.dtype == torch.float64:
        return False
    return weight is not None or logits.numel() * logits.element_size() < FEWEST_BYTES


def _torchs(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    """As the reference, by torch's loss, of rows in float32."""
    wide = logits.reshape(-1, logits.shape[-1]).float()
    if options.softcap is not None:
        wide = options.softcap * torch.tanh(wide / options.softcap)
    loss = F.cross_entropy(
        wide, target.reshape(-1).long(), None if weight is None else weight.float(),
        ignore_index=options.ignore_index, reduction=options.reduction,
        label_smoothing=options.label_smoothing,
    )  # fmt: skip
    return loss.view(target.shape) if options.reduction == "none" else loss


def _launched(logits: Tensor, target: Tensor, known: registration.Known) -> Tensor:
    """Straight to the launch."""
    loss: Tensor
    if logits.requires_grad and torch.is_grad_enabled():
        loss = registration.with_gradient(logits, target, known)
    else:
        loss = registration.launches().loss(logits, target, known)[0]
    return loss


def _kernel_takes(logits: Tensor, target: Tensor, weight: Tensor | None) -> bool:
    if not kernel_runs(logits) or not 1 < logits.shape[-1] <= MOST_COLUMNS:
        return False  # a single class has no loss: what a kernel gives is its rounding
    return weight is None and not target.is_floating_point()
