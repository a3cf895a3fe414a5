"""What the operators of the own kernel take beside query, key and value."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._rows import dense_last

# Strides that offsets of 32 bits reach all along a tile.
NEAR = 2**23

LOG2E = math.log2(math.e)


class Extras(NamedTuple):
    """The tensors that change scores and weights; `seed` is there with dropout only."""

    bias: Tensor | None
    attn_mask: Tensor | None
    alibi_slopes: Tensor | None
    sinks: Tensor | None
    seed: Tensor | None

    def apart(self, dtype: torch.dtype) -> bool:
        """Whether the highest score and the sum of the exponentials are kept apart.

        Numbers added to the scores reach −10³⁸, beside which the sum would be lost; and in float32
        the rounding of their sum would be seen.
        """
        mask = self.attn_mask
        added = self.bias is not None or (mask is not None and mask.dtype != torch.bool)
        return added or dtype in (torch.float32, torch.float64)


class Form(NamedTuple):
    """The numbers; the window holds the causal mask too, −1 is open."""

    scale: float | None
    softcap: float | None
    left: int
    right: int
    bottom_right: bool
    dropout_p: float


def split(arguments: tuple[object, ...]) -> tuple[Extras, Form]:
    """The arguments of an operator after its operands."""
    extras = len(Extras._fields)
    return Extras(*arguments[:extras]), Form(*arguments[extras:])  # type: ignore[arg-type]


def near_rows(x: Tensor) -> Tensor:
    """`x` with dense rows, 32 bits apart within a tile; copied where they are not."""
    x = dense_last(x)
    return x if x.stride(-2) < NEAR else x.contiguous()


def empty_like(x: Tensor) -> Tensor:
    """For a result in the order of `x`'s dimensions in memory, with dense rows."""
    like = torch.empty_like(near_rows(x))
    return like if like.stride(-1) == 1 else torch.empty(x.shape, dtype=x.dtype, device=x.device)


def empty_result(query: Tensor, value: Tensor) -> Tensor:
    if query.shape[-1] == value.shape[-1]:
        return empty_like(query)
    shape = (*query.shape[:-1], value.shape[-1])
    return torch.empty(shape, dtype=query.dtype, device=query.device)
