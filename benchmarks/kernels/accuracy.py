"""Errors against float64 by the error law: ours, a fair computation, and the form by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels import by_hand, norms
from cudalint.kernels import attention, cross_entropy, geglu, rms_norm, rope, softmax, swiglu
from cudalint.kernels._attention import reference as attention_reference
from cudalint.kernels._attention.reference import Options
from cudalint.kernels._cross_entropy import reference as cross_entropy_reference
from cudalint.kernels._cross_entropy.reference import Options as Losses
from cudalint.kernels._glu import reference as glu_reference
from cudalint.kernels._rms_norm import reference as rms_norm_reference
from cudalint.kernels._rope import reference as rope_reference
from cudalint.kernels._rope.reference import Form
from cudalint.kernels._softmax import reference as softmax_reference

# The operation of `--only` that a function belongs to, where that is not its name.
FAMILY = {
    "swiglu": "glu",
    "geglu": "glu",
    "add_rms_norm": "add_norm",
    "ada_layer_norm": "adaptive_norm",
    "gated_residual_ada_layer_norm": "adaptive_norm",
}

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
CAUSAL = Options(None, 0.0, True, None, False, None, None, None, None, None, "top-left")


def rows(only: list[str]) -> Iterator[dict[str, object]]:
    """Worst row error over the row's norm, for the output and each gradient."""
    for name, (ours, fair, hand, shapes) in _operations().items():
        if only and FAMILY.get(name.split()[0], name.split()[0]) not in only:
            continue
        for dtype in DTYPES:
            operands = [torch.randn(shape, device="cuda").to(dtype) for shape in shapes]
            errors = _errors(ours, fair, hand, operands)
            for what, by in zip(("output", *(f"d{i}" for i in range(1, 6))), errors, strict=False):
                yield {"operation": name, "dtype": str(dtype).removeprefix("torch."),
                       "of": what} | by  # fmt: skip


def _operations() -> dict[str, tuple[Any, Any, Any, list[tuple[int, ...]]]]:
    def fair_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention_reference.attention(q, k, v, CAUSAL)

    angles = torch.randn(512, 128, device="cuda")
    cos, sin = (t.bfloat16().float() for t in (angles.cos(), angles.sin()))
    target = torch.randint(0, 32000, (512,), device="cuda")
    losses = Losses(-100, 0.0, "none", None, 0.0)

    return norms.accuracies() | {
        "swiglu 512×4096": (
            swiglu, lambda gate, up: glu_reference.glu(gate, up, "silu"), by_hand.swiglu,
            [(512, 4096)] * 2,
        ),
        "geglu 512×4096": (
            lambda gate, up: geglu(gate, up, approximate="tanh"),
            lambda gate, up: glu_reference.glu(gate, up, "gelu_tanh"), by_hand.geglu,
            [(512, 4096)] * 2,
        ),
        "rope 32×512×128": (
            lambda x: rope(x, cos.to(x.dtype), sin.to(x.dtype)),
            lambda x: rope_reference.rope(x, cos, sin, Form(False, False), x.dtype),
            lambda x: by_hand.apply_rope(x, x, cos.to(x.dtype), sin.to(x.dtype))[0],
            [(32, 512, 128)],
        ),
        "cross_entropy 512×32000": (
            lambda x: cross_entropy(x, target, reduction="none"),
            lambda x: cross_entropy_reference.cross_entropy(x, target, None, losses),
            lambda x: F.cross_entropy(x.float(), target, reduction="none"), [(512, 32000)],
        ),
        "softmax 512×1024": (
            softmax, lambda x: softmax_reference.softmax(x, -1, x.dtype, False), by_hand.softmax,
            [(512, 1024)],
        ),
        "softmax 64×131072": (
            softmax, lambda x: softmax_reference.softmax(x, -1, x.dtype, False), by_hand.softmax,
            [(64, 131072)],
        ),
        "rms_norm 4096×2048": (
            rms_norm, lambda x, w: rms_norm_reference.rms_norm(x, w, 1e-6, False, 0.0),
            by_hand.rms_norm, [(4096, 2048), (2048,)],
        ),
        "rms_norm 512×32768": (
            rms_norm, lambda x, w: rms_norm_reference.rms_norm(x, w, 1e-6, False, 0.0),
            by_hand.rms_norm, [(512, 32768), (32768,)],
        ),
        "attention 2×4×512×64 causal": (
            lambda q, k, v: attention(q, k, v, is_causal=True), fair_attention,
            lambda q, k, v: by_hand.attention(q, k, v, causal=True), [(2, 4, 512, 64)] * 3,
        ),
    }  # fmt: skip


def _errors(
    ours: Callable[..., Tensor],
    fair: Callable[..., Tensor],
    hand: Callable[..., Tensor],
    operands: list[Tensor],
) -> list[dict[str, float]]:
    wide = [t.double() for t in operands]
    dy = torch.randn_like(ours(*operands))
    exact = _run(fair, wide, dy.double())
    near = _run(fair, [t.float() for t in operands], dy.float())
    results = _run(ours, operands, dy)
    by = {
        "ours": results,
        "fair": [t.to(mine.dtype) for t, mine in zip(near, results, strict=True)],
        "by hand": _run(hand, operands, dy),
    }
    return [
        {name: _worst(results[i], truth) for name, results in by.items()}
        for i, truth in enumerate(exact)
    ]


def _run(function: Callable[..., Tensor], operands: list[Tensor], dy: Tensor) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in operands]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy)]


def _worst(result: Tensor, truth: Tensor) -> float:
    """The norm of the worst row's error over the norm of a typical row."""
    error = (result.double() - truth).norm(dim=-1)
    return float(error.max() / truth.norm(dim=-1).median())
