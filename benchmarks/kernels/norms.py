"""Cases of the layer norm, the norms after a sum, and the adaptive norms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels import by_hand
from benchmarks.kernels.case import Case, Function, both_modes, compiled, liger, name_of
from cudalint.kernels import (
    ada_layer_norm,
    add_layer_norm,
    add_rms_norm,
    gated_residual,
    gated_residual_ada_layer_norm,
    layer_norm,
)

EPS = 1e-6
LAYER_NORM_SHAPES = ((8, 4096, 1024), (8, 4096, 4096), (8, 2048, 8192))
ADD_SHAPES = ((4, 4096, 3072), (16, 2048, 4096))
# (samples, tokens, channels): SiT-XL in training and Flux
ADAPTIVE_SHAPES = ((256, 256, 1152), (8, 4608, 3072))


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, device="cuda", dtype=torch.bfloat16)


def _bytes(x: Tensor, forward: int, both: int) -> tuple[int, int]:
    size = x.numel() * x.element_size()
    return forward * size, both * size


def layer_norms() -> Iterator[Case]:
    peer = liger("layer_norm", "LigerLayerNormFunction")
    for shape in LAYER_NORM_SHAPES:
        n = shape[-1]
        x, w, b = _random(*shape), _random(n), _random(n)
        functions: dict[str, Function] = {
            "by hand": by_hand.layer_norm,
            "torch": lambda x, w, b, n=n: F.layer_norm(x, (n,), w, b, EPS),
            "compile": compiled(by_hand.layer_norm),
            "ours": lambda x, w, b: layer_norm(x, w, b, EPS),
        }
        if peer is not None:
            functions["Liger"] = lambda x, w, b: peer.apply(x, w, b, EPS)
        yield from both_modes("layer_norm", name_of(shape), functions, (x, w, b), _bytes(x, 2, 5))


def add_norms() -> Iterator[Case]:
    peer = liger("fused_add_rms_norm", "LigerFusedAddRMSNormFunction")
    for shape in ADD_SHAPES:
        n = shape[-1]
        x, residual, w, b = _random(*shape), _random(*shape), _random(n), _random(n)
        rms: dict[str, Function] = {
            "by hand": by_hand.add_rms_norm,
            "torch": _torch_add_rms_norm,
            "compile": compiled(by_hand.add_rms_norm),
            "ours": lambda x, r, w: add_rms_norm(x, r, w, EPS),
        }
        if peer is not None:
            rms["Liger"] = lambda x, r, w: peer.apply(x, r, w, EPS, 0.0, "llama", False)
        work = _bytes(x, 4, 8)
        yield from both_modes("add_rms_norm", name_of(shape), rms, (x, residual, w), work)
        layer: dict[str, Function] = {
            "torch": by_hand.add_layer_norm,
            "compile": compiled(by_hand.add_layer_norm),
            "ours": lambda x, r, w, b: add_layer_norm(x, r, w, b, EPS),
        }
        operands = (x, residual, w, b)
        yield from both_modes("add_layer_norm", name_of(shape), layer, operands, work)


def _torch_add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    hidden = x + residual
    return F.rms_norm(hidden, (x.shape[-1],), weight, EPS), hidden


def adaptive_norms() -> Iterator[Case]:
    for shape in ADAPTIVE_SHAPES:
        x, y = _random(*shape), _random(*shape)
        shift, scale, gate = _random(shape[0], 1, 3 * shape[-1]).chunk(3, dim=-1)
        yield from _adaptive("ada_layer_norm", shape, by_hand.ada_layer_norm, (x, scale, shift),
                             lambda x, s, t: ada_layer_norm(x, scale=s, shift=t), (2, 5))  # fmt: skip
        yield from _adaptive("gated_residual", shape, by_hand.gated_residual, (x, y, gate),
                             gated_residual, (3, 6))  # fmt: skip
        yield from _adaptive(
            "gated_residual_ada_layer_norm", shape, by_hand.gated_residual_ada_layer_norm,
            (x, y, gate, scale, shift),
            lambda x, y, g, s, t: gated_residual_ada_layer_norm(x, y, g, scale=s, shift=t), (4, 10),
        )  # fmt: skip


def _adaptive(
    operation: str,
    shape: tuple[int, ...],
    hand: Function,
    operands: tuple[Tensor, ...],
    ours: Any,
    work: tuple[int, int],
) -> Iterator[Case]:
    functions: dict[str, Function] = {"by hand": hand, "compile": compiled(hand), "ours": ours}
    moved = _bytes(operands[0], *work)
    yield from both_modes(operation, name_of(shape), functions, operands, moved)
