"""attention_varlen against torch's attention of one sequence after another."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import attention_varlen
from cudalint.kernels._tests.agree import DEVICE, agree, drawn

ENDS = (0, 5, 6, 13)


def one_by_one(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    parts = []
    for start, end in itertools.pairwise(ENDS):
        one, keys, values = (x[start:end].transpose(0, 1) for x in (q, k, v))
        out = F.scaled_dot_product_attention(one, keys, values, is_causal=True)
        parts.append(out.transpose(0, 1))
    return torch.cat(parts)


def test_sequences_do_not_meet() -> None:
    q, k, v = (drawn(13, 4, 16, seed=seed) for seed in range(3))
    ends = torch.tensor(ENDS, dtype=torch.int32, device=DEVICE)
    agree(
        lambda q, k, v: attention_varlen(q, k, v, ends, ends, 7, 7, is_causal=True),
        one_by_one,
        q, k, v, loose=64,
    )  # fmt: skip
