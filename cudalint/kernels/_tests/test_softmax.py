"""softmax and log_softmax against torch's."""

from __future__ import annotations

import pytest
import torch

from cudalint.kernels import log_softmax, softmax
from cudalint.kernels._tests.agree import DTYPES, agree, drawn


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 33, 2048])
def test_softmax(dtype: torch.dtype, columns: int) -> None:
    x = drawn(3, 5, columns, dtype=dtype)
    agree(softmax, lambda x: torch.softmax(x, -1), x)
    agree(log_softmax, lambda x: torch.log_softmax(x, -1), x)


def test_masked_rows() -> None:
    x = torch.tensor([[0.0, -torch.inf], [-torch.inf, -torch.inf]])
    torch.testing.assert_close(softmax(x), torch.softmax(x, -1), equal_nan=True)
