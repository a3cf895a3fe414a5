"""Norms that are scaled and shifted, and gated residuals, against their formulas."""
# cudalint: file-ignore[CUF014]

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import ada_layer_norm, ada_rms_norm, gated_residual
from cudalint.kernels._tests.agree import DTYPES, agree, drawn


def layer(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.layer_norm(x, (64,), eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


def rms(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.rms_norm(x, (64,), eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


@pytest.mark.parametrize("dtype", DTYPES)
def test_adaptive_norms(dtype: torch.dtype) -> None:
    x = drawn(3, 5, 64, dtype=dtype)
    scale, shift, gate = (drawn(3, 64, dtype=dtype, seed=seed) for seed in (1, 2, 3))
    agree(lambda x, a, b: ada_layer_norm(x, scale=a, shift=b), layer, x, scale, shift, loose=16)
    agree(lambda x, a, b: ada_rms_norm(x, scale=a, shift=b), rms, x, scale, shift, loose=16)
    y = drawn(3, 5, 64, dtype=dtype, seed=4)
    agree(gated_residual, lambda x, y, gate: x + gate[:, None] * y, x, y, gate, loose=16)
