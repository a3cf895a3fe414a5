"""Cases of the gated units and of rotary embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernels import by_hand
from benchmarks.kernels.case import Case, Function, both_modes, compiled, liger, name_of
from cudalint.kernels import apply_rope, geglu, swiglu, swiglu_packed

GLU_SHAPES = ((16, 11008), (4096, 11008), (16384, 11008))


def glus() -> Iterator[Case]:
    for shape in GLU_SHAPES:
        yield from _unit(
            "swiglu", shape, swiglu, by_hand.swiglu, liger("swiglu", "LigerSiLUMulFunction")
        )
    yield from _unit("geglu", shape, _geglu, by_hand.geglu, liger("geglu", "LigerGELUMulFunction"))
    x = torch.randn(shape[0], 2 * shape[1], device="cuda", dtype=torch.bfloat16)
    functions: dict[str, Function] = {
        "by hand": by_hand.swiglu_packed, "compile": compiled(by_hand.swiglu_packed),
        "ours": swiglu_packed,
    }  # fmt: skip
    half = x.numel() // 2 * x.element_size()
    yield from both_modes("swiglu_packed", name_of(shape), functions, (x,), (3 * half, 8 * half))


def _geglu(gate: Tensor, up: Tensor) -> Tensor:
    return geglu(gate, up, approximate="tanh")


def _unit(
    name: str, shape: tuple[int, ...], ours: Function, hand: Function, peer: Any
) -> Iterator[Case]:
    gate, up = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    functions: dict[str, Function] = {"by hand": hand, "compile": compiled(hand), "ours": ours}
    if peer is not None:
        functions["Liger"] = peer.apply
    size = gate.numel() * gate.element_size()
    yield from both_modes(name, name_of(shape), functions, (gate, up), (3 * size, 8 * size))


# (batch, query heads, key heads, length, width)
ROPE_SHAPES = ((1, 32, 8, 1, 128), (4, 32, 8, 4096, 128),
               (8, 32, 32, 8192, 128))  # fmt: skip


def ropes() -> Iterator[Case]:
    peer = liger("rope", "LigerRopeFunction")
    for batch, heads, kv_heads, length, width in ROPE_SHAPES:
        q, k = (
            torch.randn(batch, length, h, width, device="cuda", dtype=torch.bfloat16)
            for h in (heads, kv_heads)
        )
        cos, sin = _tables(length, width)
        functions: dict[str, Function] = {
            "by hand": lambda q, k, cos, sin: by_hand.apply_rope(q, k, cos[:, None], sin[:, None]),
            "ours": lambda q, k, cos, sin: apply_rope(q, k, cos[:, None], sin[:, None]),
        }
        functions["compile"] = compiled(functions["by hand"])
        if peer is not None:
            functions["Liger"] = peer.apply  # last: it writes over q and k
        size = (q.numel() + k.numel()) * q.element_size()
        shape = f"{batch}×{heads}/{kv_heads}×{length}×{width}"
        # (B, H, T, D) views of (B, T, H, D), as a projection leaves them
        views = (q.transpose(1, 2), k.transpose(1, 2))
        work = (2 * size, 4 * size)
        yield from both_modes("rope", shape, functions, views, work, fixed=(cos, sin))


def _tables(length: int, width: int) -> tuple[Tensor, Tensor]:
    rates = 10000.0 ** (-torch.arange(0, width, 2, device="cuda") / width)
    angles = torch.arange(length, device="cuda")[:, None] * rates
    angles = torch.cat((angles, angles), -1)[None]
    return angles.cos().bfloat16(), angles.sin().bfloat16()
