"""add_rms_norm and add_layer_norm against an addition and torch's norms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cudalint.kernels import add_layer_norm, add_rms_norm
from cudalint.kernels._tests.agree import DTYPES, agree, drawn


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_norms(dtype: torch.dtype) -> None:
    x, residual = (drawn(3, 5, 64, dtype=dtype, seed=seed) for seed in (0, 1))
    weight = drawn(64, dtype=dtype, seed=2)
    agree(
        lambda x, r, w: add_layer_norm(x, r, w)[0],
        lambda x, r, w: F.layer_norm(x + r, (64,), w),
        x, residual, weight, loose=16,
    )  # fmt: skip
    agree(
        lambda x, r, w: add_rms_norm(x, r, w)[0],
        lambda x, r, w: F.rms_norm(x + r, (64,), w, 1e-6),
        x, residual, weight, loose=16,
    )  # fmt: skip
    agree(lambda x, r: add_rms_norm(x, r)[1], lambda x, r: x + r, x, residual)
