"""Rotary embeddings in both layouts, against complex multiplication."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cudalint.kernels import apply_rope, rope
from cudalint.kernels._tests.agree import DEVICE, DTYPES, agree, drawn

ANGLES = torch.outer(torch.arange(5.0), 10000 ** (-torch.arange(8.0) / 8)).to(DEVICE)


def reference(x: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], 8, 2))
    out = torch.view_as_real(pairs * torch.polar(torch.ones_like(ANGLES), ANGLES))
    return out.flatten(-2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_layouts(dtype: torch.dtype) -> None:
    x = drawn(2, 4, 5, 16, dtype=dtype)
    cos, sin = ANGLES.cos(), ANGLES.sin()
    agree(
        lambda x: rope(x, cos, sin, layout="interleaved", table="half", dtype=x.dtype), reference, x
    )
    order = torch.cat([torch.arange(0, 16, 2), torch.arange(1, 16, 2)]).to(DEVICE)
    back = order.argsort()
    agree(
        lambda x: rope(x, cos, sin, table="half", dtype=x.dtype),
        lambda x: reference(x[..., back])[..., order],
        x,
    )
    q, k = apply_rope(x, x, cos, sin, table="half", dtype=dtype)
    assert torch.equal(q, k)
