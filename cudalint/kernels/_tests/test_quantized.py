"""int8_linear against a product with the weight that the integers stand for."""
# cudalint: file-ignore[CUF015]

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cudalint.kernels import int8_linear
from cudalint.kernels._tests.agree import DTYPES, agree, drawn


@pytest.mark.parametrize("dtype", DTYPES)
def test_int8_linear(dtype: torch.dtype) -> None:
    x, bias = drawn(3, 5, 32, dtype=dtype), drawn(24, dtype=dtype, seed=1)
    weight = drawn(24, 32, seed=2).detach()
    scales = weight.abs().amax(1) / 127
    qweight = (weight / scales[:, None]).round().to(torch.int8)
    expanded = qweight.float() * scales[:, None]

    def by_hand(x: Tensor, bias: Tensor) -> Tensor:
        return x @ expanded.T + bias

    agree(lambda x, b: int8_linear(x, qweight, scales, b), by_hand, x, bias, loose=16)
