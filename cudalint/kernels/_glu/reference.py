"""Gated linear units in plain torch: the specification, and what runs where no kernel does."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels._dispatch import result_type

Kind = Literal["silu", "gelu", "gelu_tanh"]

INVERSE_ROOT = 1.0 / math.sqrt(2.0 * math.pi)
# of tanh's argument, u = ROOT · (x + CUBIC · x³)
ROOT = math.sqrt(2.0 / math.pi)
CUBIC = 0.044715


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


def glu_backward(dy: Tensor, gate: Tensor, up: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """dgate = dy·up·act'(gate) and dup = dy·act(gate), of operands of one shape."""
    wide = torch.float64 if torch.float64 in (gate.dtype, up.dtype) else torch.float32
    x, dy = gate.to(wide), dy.to(wide)
    dgate = dy * up.to(wide) * _derivative(x, kind)
    return dgate.to(gate.dtype), (dy * _activated(x, kind)).to(up.dtype)


def _derivative(x: Tensor, kind: Kind) -> Tensor:
    if kind == "gelu":
        density = torch.exp(-0.5 * x * x) * INVERSE_ROOT
        return 0.5 * (1.0 + torch.erf(x * 0.5**0.5)) + x * density
    if kind == "silu":
        s = torch.sigmoid(x)
        return s * (1.0 + x * (1.0 - s))
    # tanh GELU is x · σ(2u)
    s = torch.sigmoid(2.0 * ROOT * (x + CUBIC * x.pow(3)))
    return s + s * (1.0 - s) * x * (2.0 * ROOT) * (1.0 + 3.0 * CUBIC * x.square())
