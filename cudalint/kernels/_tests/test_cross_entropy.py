"""cross_entropy against torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cudalint.kernels import cross_entropy
from cudalint.kernels._tests.agree import DEVICE, DTYPES, agree, drawn


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy(dtype: torch.dtype, reduction: str) -> None:
    logits = drawn(6, 33, dtype=dtype)
    target = torch.tensor([3, 0, -100, 32, 7, 7], device=DEVICE)
    agree(
        lambda x: cross_entropy(x, target, reduction=reduction, label_smoothing=0.1),  # type: ignore[arg-type]
        lambda x: F.cross_entropy(x, target, reduction=reduction, label_smoothing=0.1),
        logits, loose=64,
    )  # fmt: skip
    if dtype != torch.float32:
        assert cross_entropy(logits, target).dtype == torch.float32
