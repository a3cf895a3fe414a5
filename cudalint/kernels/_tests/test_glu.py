"""Gated units against torch's activations."""
# cudalint: file-ignore[CUF008]

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cudalint.kernels import geglu, geglu_packed, swiglu, swiglu_packed
from cudalint.kernels._tests.agree import DTYPES, agree, drawn


@pytest.mark.parametrize("dtype", DTYPES)
def test_gated_units(dtype: torch.dtype) -> None:
    gate, up = (drawn(3, 5, 48, dtype=dtype, seed=seed) for seed in (0, 1))
    agree(swiglu, lambda gate, up: F.silu(gate) * up, gate, up)
    agree(geglu, lambda gate, up: F.gelu(gate) * up, gate, up)
    packed = drawn(3, 5, 96, dtype=dtype)
    agree(swiglu_packed, lambda x: F.silu(x[..., :48]) * x[..., 48:], packed)
    agree(geglu_packed, lambda x: F.gelu(x[..., :48]) * x[..., 48:], packed)
