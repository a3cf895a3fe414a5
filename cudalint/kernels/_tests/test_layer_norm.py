"""layer_norm against torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cudalint.kernels import layer_norm
from cudalint.kernels._tests.agree import DTYPES, agree, drawn


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm(dtype: torch.dtype) -> None:
    x = drawn(4, 7, 96, dtype=dtype)
    weight, bias = drawn(96, dtype=dtype, seed=1), drawn(96, dtype=dtype, seed=2)
    agree(layer_norm, lambda x, w, b: F.layer_norm(x, (96,), w, b), x, weight, bias)
