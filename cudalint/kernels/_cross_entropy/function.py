"""The public function."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from cudalint.kernels._cross_entropy import checks, reference
from cudalint.kernels._cross_entropy.reference import Options

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
    Dtypes: float32, float16, bfloat16, float64 logits, integer targets, or probabilities with the
    shape of `logits`. The loss is float32 whatever the logits are, and float64 for float64.
    Moves: forward the bytes of `logits`, backward 2 ×. No float32 copy of the logits is stored.
    Gradients: to `logits`, and to `weight` and probabilities in the reference.
    Raises ValueError for dtypes, shapes and devices that do not fit, an unknown `reduction`, a
    `label_smoothing` outside 0 to 1, a `softcap` that is not positive, and `ignore_index` ≥ 0 with
    probabilities.

    Label smoothing of Szegedy et al., 2015, arXiv:1512.00567, section 7; z_loss of PaLM,
    arXiv:2204.02311, section 5; softcap of Gemma 2, arXiv:2408.00118, section 2.
    """
    options = Options(ignore_index, label_smoothing, reduction, softcap, z_loss)
    checks.refuse_bad_options("cross_entropy", options)
    checks.refuse_bad_logits("cross_entropy", logits)
    if target.is_floating_point() and target.shape == logits.shape:
        checks.refuse_bad_probabilities("cross_entropy", target, logits, options)
    else:
        checks.refuse_bad_target("cross_entropy", target, logits.shape[:-1], logits)
    if weight is not None:
        checks.refuse_bad_weight("cross_entropy", weight, logits)
    return reference.cross_entropy(logits, target, weight, options)
