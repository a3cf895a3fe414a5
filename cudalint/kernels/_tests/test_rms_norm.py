"""rms_norm in both orders of rounding, against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cudalint.kernels import rms_norm
from cudalint.kernels._tests.agree import DTYPES, agree, drawn


def by_hand(x: Tensor, weight: Tensor) -> Tensor:
    # cudalint: ignore[CUF004]
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [33, 512])
def test_rms_norm(dtype: torch.dtype, columns: int) -> None:
    x, weight = drawn(4, 7, columns, dtype=dtype), drawn(columns, dtype=dtype, seed=1)
    agree(rms_norm, by_hand, x, weight)
    agree(lambda x, w: rms_norm(x, w, cast="late"), by_hand, x, weight)
    agree(lambda x, w: rms_norm(x, w, cast="late", weight_offset=1.0), by_hand_offset, x, weight)


def by_hand_offset(x: Tensor, weight: Tensor) -> Tensor:
    return by_hand(x, 1 + weight)
