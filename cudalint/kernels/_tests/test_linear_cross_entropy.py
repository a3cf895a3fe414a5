"""linear_cross_entropy against a product and torch's cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from cudalint.kernels import linear_cross_entropy
from cudalint.kernels._tests.agree import DEVICE, agree, drawn


def test_linear_cross_entropy() -> None:
    x, weight = drawn(6, 16), drawn(33, 16, seed=1)
    target = torch.tensor([3, 0, -100, 32, 7, 7], device=DEVICE)
    agree(
        lambda x, w: linear_cross_entropy(x, w, target),
        lambda x, w: F.cross_entropy(x @ w.T, target),
        x, weight, loose=64,
    )  # fmt: skip
