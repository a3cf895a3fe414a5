"""The row-wise functions, each as a function of (x, weight): what every one of them must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import cross_entropy, geglu, log_softmax, rms_norm, rope, softmax, swiglu

Function = Callable[[Tensor, Tensor], Tensor]
OPS = torch.ops.cudalint


@dataclass(frozen=True)
class Row:
    """Ours, the same in torch, and our operator; `weighted`: the weight has a gradient too."""

    ours: Function
    torchs: Function
    operator: Function
    weighted: bool = False


def _tables(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin for all columns but an odd one, which is left as it is."""
    half = w.detach()[: x.shape[-1] // 2]
    return half, 0.5 * half


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = cos.shape[-1]
    wide, c, s = x.float(), cos.float(), sin.float()
    first, second, rest = wide[..., :half], wide[..., half : 2 * half], wide[..., 2 * half :]
    return torch.cat((first * c - second * s, second * c + first * s, rest), dim=-1).to(x.dtype)


def _classes(x: Tensor) -> Tensor:
    return torch.arange(x.shape[0], device=x.device) % x.shape[-1]


ROW_WISE = {
    "softmax": Row(
        lambda x, w: softmax(x),
        lambda x, w: torch.softmax(x, -1),
        lambda x, w: OPS.softmax(x, x.dtype, False),
    ),
    "log_softmax": Row(
        lambda x, w: log_softmax(x),
        lambda x, w: torch.log_softmax(x, -1),
        lambda x, w: OPS.softmax(x, x.dtype, True),
    ),
    "rms_norm": Row(
        lambda x, w: rms_norm(x, w, 1e-6),
        lambda x, w: F.rms_norm(x, x.shape[-1:], w, 1e-6),
        lambda x, w: OPS.rms_norm(x, w, 1e-6, False, 0.0),
        weighted=True,
    ),
    "swiglu": Row(
        lambda x, w: swiglu(x, w.expand_as(x)),
        lambda x, w: F.silu(x) * w,
        lambda x, w: OPS.glu(x, w.expand_as(x), "silu"),
        weighted=True,
    ),
    "geglu": Row(
        lambda x, w: geglu(w.expand_as(x), x),
        lambda x, w: F.gelu(w) * x,
        lambda x, w: OPS.glu(w.expand_as(x), x, "gelu"),
        weighted=True,
    ),
    "rope": Row(
        lambda x, w: rope(x, *_tables(x, w), table="half"),
        lambda x, w: _turned(x, *_tables(x, w)),
        lambda x, w: OPS.apply_rope(x, None, *_tables(x, w), False, True, x.dtype, x.dtype)[0],
    ),
    "cross_entropy": Row(
        lambda x, w: cross_entropy(x, _classes(x), reduction="none"),
        lambda x, w: F.cross_entropy(x.float(), _classes(x), reduction="none"),
        lambda x, w: OPS.cross_entropy(x, _classes(x), -100, 0.0, "none", None, 0.0)[0],
    ),
}
