"""decode_attention to a cache, against torch's attention to its filled part."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from cudalint.kernels import decode_attention
from cudalint.kernels._tests.agree import DEVICE, drawn


def test_only_what_is_filled_counts() -> None:
    q, k, v = drawn(2, 4, 1, 16), drawn(2, 2, 9, 16, seed=1), drawn(2, 2, 9, 16, seed=2)
    lengths = torch.tensor([9, 4], dtype=torch.int32, device=DEVICE)
    with torch.no_grad():
        out = decode_attention(q, k, v, lengths)
        for row, length in enumerate((9, 4)):
            keys, values = (x[row, :, :length].repeat_interleave(2, 0) for x in (k, v))
            expected = F.scaled_dot_product_attention(q[row], keys, values)
            torch.testing.assert_close(out[row], expected, rtol=1e-4, atol=1e-5)
