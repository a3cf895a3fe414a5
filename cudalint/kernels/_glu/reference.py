"""Gated linear units in plain torch: the specification, and what runs where no kernel does."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels._dispatch import result_type

Kind = Literal["silu", "gelu", "gelu_tanh"]


def glu(gate: Tensor, up: Tensor, kind: Kind) -> Tensor:
    """act(gate) · up in float32, or in float64 where the result is, rounded once."""
    result = result_type(gate, up)
    wide = torch.float64 if result == torch.float64 else torch.float32
    return (_activated(gate.to(wide), kind) * up.to(wide)).to(result)


def glu_packed(x: Tensor, gate_first: bool, kind: Kind) -> Tensor:
    return glu(*split(x, gate_first), kind)


def split(x: Tensor, gate_first: bool) -> tuple[Tensor, Tensor]:
    """(gate, up), the halves of the last dimension."""
    first, second = x.chunk(2, dim=-1)
    return (first, second) if gate_first else (second, first)


def _activated(gate: Tensor, kind: Kind) -> Tensor:
    if kind == "silu":
        return F.silu(gate)
    return F.gelu(gate, approximate="none" if kind == "gelu" else "tanh")
