"""The row-wise functions, each as a function of (x, weight): what every one of them must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import geglu, log_softmax, rms_norm, softmax, swiglu

Function = Callable[[Tensor, Tensor], Tensor]
OPS = torch.ops.cudalint


@dataclass(frozen=True)
class Row:
    """Ours, the same in torch, and our operator; `weighted`: the weight has a gradient too."""

    ours: Function
    torchs: Function
    operator: Function
    weighted: bool = False


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
}
