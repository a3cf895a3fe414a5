"""Host time of a call on 1 KB, ours beside the nearest of torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.kernels import by_hand
from benchmarks.kernels.case import Call
from benchmarks.kernels.timing import host_time
from cudalint.kernels import (
    ada_layer_norm,
    add_layer_norm,
    add_rms_norm,
    apply_rope,
    attention,
    cross_entropy,
    gated_residual,
    geglu,
    layer_norm,
    rms_norm,
    softmax,
    swiglu,
    swiglu_packed,
)

Pair = tuple[Call, Call]


def host_rows(family: str) -> Iterator[dict[str, Any]]:
    for gradient in (False, True):
        for name, (torchs, ours) in _pairs(family, gradient).items():
            call = f"{name}, {'with' if gradient else 'without'} gradient"
            yield {
                "family": family,
                "call": call,
                "torch": host_time(torchs),
                "ours": host_time(ours),
                "run": 0,
            }


def _pairs(family: str, gradient: bool) -> dict[str, Pair]:
    x, w = (torch.randn(256, device="cuda", requires_grad=gradient) for _ in range(2))
    q = torch.randn(1, 1, 4, 64, device="cuda", requires_grad=gradient)
    cos, sin = (torch.randn(4, 64, device="cuda") for _ in range(2))
    logits = torch.randn(4, 64, device="cuda", requires_grad=gradient)
    target = torch.zeros(4, device="cuda", dtype=torch.int64)
    pairs: dict[str, dict[str, Pair]] = {
        "rms_norm": {
            "rms_norm": (lambda: F.rms_norm(x, (256,), w, 1e-6), lambda: rms_norm(x, w)),
        },
        "layer_norm": {
            "layer_norm": (lambda: F.layer_norm(x, (256,), w), lambda: layer_norm(x, w)),
        },
        "add_norm": {
            "add_rms_norm": (
                lambda: F.rms_norm(x + x, (256,), w, 1e-6), lambda: add_rms_norm(x, x, w)
            ),
            "add_layer_norm": (
                lambda: by_hand.add_layer_norm(x, x, w, w), lambda: add_layer_norm(x, x, w, w)
            ),
        },
        "adaptive_norm": {
            "ada_layer_norm": (
                lambda: by_hand.ada_layer_norm(x, w, w), lambda: ada_layer_norm(x, scale=w, shift=w)
            ),
            "gated_residual": (
                lambda: by_hand.gated_residual(x, x, w), lambda: gated_residual(x, x, w)
            ),
        },
        "softmax": {"softmax": (lambda: torch.softmax(x, -1), lambda: softmax(x))},
        "attention": {
            "attention": (
                lambda: F.scaled_dot_product_attention(q, q, q), lambda: attention(q, q, q)
            ),
        },
        "glu": {
            "swiglu": (lambda: by_hand.swiglu(x, w), lambda: swiglu(x, w)),
            "geglu": (lambda: by_hand.geglu_erf(x, w), lambda: geglu(x, w)),
            "swiglu_packed": (lambda: by_hand.swiglu_packed(x), lambda: swiglu_packed(x)),
        },
        "rope": {
            "apply_rope": (
                lambda: by_hand.apply_rope(q, q, cos, sin), lambda: apply_rope(q, q, cos, sin)
            ),
        },
        "cross_entropy": {
            "cross_entropy": (
                lambda: F.cross_entropy(logits, target), lambda: cross_entropy(logits, target)
            ),
        },
    }  # fmt: skip
    return pairs.get(family, {})
