"""attention against torch's, and its own options against their formulas."""
# cudalint: file-ignore[CUF001]

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import attention
from cudalint.kernels._tests.agree import DTYPES, agree, drawn


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_attention(dtype: torch.dtype, causal: bool) -> None:
    q, k, v = (drawn(2, 4, 17, 16, dtype=dtype, seed=seed) for seed in range(3))
    agree(
        lambda q, k, v: attention(q, k, v, is_causal=causal),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        q, k, v, loose=16,
    )  # fmt: skip


def capped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = 5 * torch.tanh(q @ k.mT / 4 / 5)
    far = (torch.arange(17)[:, None] - torch.arange(17)).abs().to(q.device) > 3
    return scores.masked_fill(far, -torch.inf).softmax(-1) @ v


def test_softcap_and_window() -> None:
    q, k, v = (drawn(2, 4, 17, 16, seed=seed) for seed in range(3))
    agree(lambda q, k, v: attention(q, k, v, softcap=5.0, window=(3, 3)), capped, q, k, v, loose=64)
