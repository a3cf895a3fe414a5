"""Cases of cross-entropy, alone and with the linear layer before it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from benchmarks.kernels import by_hand
from benchmarks.kernels.case import (
    Bar,
    Case,
    Function,
    both_modes,
    calls,
    compiled,
    liger,
    name_of,
)
from cudalint.kernels import cross_entropy, linear_cross_entropy

SHAPES = ((64, 32000), (8192, 32000), (8192, 128256))


def cross_entropies() -> Iterator[Case]:
    peer = liger("cross_entropy", "LigerCrossEntropyFunction")
    for shape in SHAPES:
        rows, classes = shape
        logits = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
        target = torch.randint(0, classes, (rows,), device="cuda")
        functions: dict[str, Function] = {
            "by hand": by_hand.cross_entropy,
            "torch": F.cross_entropy,
            "compile": compiled(by_hand.cross_entropy),
            "ours": cross_entropy,
        }
        size = logits.numel() * logits.element_size()
        # last: it writes over the logits; and never in a graph: its copies wait for the host
        if peer is not None and size >= 16e6:
            functions["Liger"] = lambda x, t: peer.apply(x, t, None)[0]
        yield from both_modes(
            "cross_entropy", name_of(shape), functions, (logits,), (size, 3 * size), (target,)
        )


# It trades a fourth product for memory.
MOST_OF_THE_PAIR = 1.4

# (rows, width, classes)
LINEAR_SHAPES = ((8192, 2048, 32000), (8192, 4096, 128256))


def linear_cross_entropies() -> Iterator[Case]:
    peer = liger("fused_linear_cross_entropy", "LigerFusedLinearCrossEntropyFunction")
    for rows, width, classes in LINEAR_SHAPES:
        x = torch.randn(rows, width, device="cuda", dtype=torch.bfloat16)
        weight = torch.randn(classes, width, device="cuda", dtype=torch.bfloat16) / width**0.5
        target = torch.randint(0, classes, (rows,), device="cuda")
        functions: dict[str, Function] = {
            "by hand": by_hand.linear_cross_entropy,
            "compile": compiled(by_hand.linear_cross_entropy),
            "ours": linear_cross_entropy,
        }
        if peer is not None:
            functions["Liger"] = lambda x, w, t: peer.apply(x, w, t)[0]
        made = calls(functions, (x, weight), True, (target,))
        shape = f"{rows}×{width}×{classes}"
        work = 6 * rows * width * classes
        yield Case(
            "linear_cross_entropy", shape, "forward+backward", work, made, is_compute=True,
            bar=Bar("by hand", 1 / MOST_OF_THE_PAIR),
        )  # fmt: skip
