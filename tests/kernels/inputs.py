"""Random inputs in the layouts that break kernels, and a `torch.empty` that is never zero."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

LAYOUTS = ("contiguous", "transposed", "chunk", "strided_last", "expanded", "misaligned")


@contextmanager
def poisoned_empty() -> Iterator[None]:
    """Fills what `torch.empty` gives with NaN, so that an element left unwritten is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


class Guards:
    """Bands of poison before and after each tensor that `torch.empty` gave."""

    BAND = 64

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []

    def around(self, like: Tensor, device: torch.device) -> Tensor:
        """An uninitialized tensor with the shape, strides and dtype of `like`."""
        size = 2 * self.BAND + like.numel()
        buffer = torch.full((size * like.element_size(),), 0xFF, dtype=torch.uint8, device=device)
        self._buffers.append(buffer)
        return buffer.view(like.dtype).as_strided(like.shape, like.stride(), self.BAND)

    def untouched(self) -> bool:
        """Whether every band still holds the poison; elements are at most 8 bytes wide."""
        band = self.BAND
        return bool(self._buffers) and all(
            bool((b[:band] == 0xFF).all()) and bool((b[-band:] == 0xFF).all())
            for b in self._buffers
        )


@contextmanager
def guarded_empty() -> Iterator[Guards]:
    """Surrounds what `torch.empty` and `torch.empty_like` give with bands, and fills it with NaN."""
    guards, empty, empty_like = Guards(), torch.empty, torch.empty_like

    def guarded(*size: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
        return guards.around(empty(*size, dtype=dtype, device="meta"), device)

    def guarded_like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return guards.around(empty_like(x, dtype=dtype, device="meta"), x.device)

    torch.empty, torch.empty_like = guarded, guarded_like
    try:
        yield guards
    finally:
        torch.empty, torch.empty_like = empty, empty_like


def generator(seed: int, device: str) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def draw(
    rows: int,
    cols: int,
    dtype: torch.dtype,
    *,
    layout: str = "contiguous",
    device: str = "cpu",
    seed: int = 0,
    scale: float = 1.0,
    offset: float = 0.0,
) -> Tensor:
    """Normal numbers (rows, cols), or (rows, 3, cols) where a layout needs another dimension."""
    rng = generator(seed, device)

    def normal(*shape: int) -> Tensor:
        x = torch.randn(*shape, generator=rng, device=device)
        return (x * scale + offset).to(dtype)

    if layout == "contiguous":
        return normal(rows, cols)
    if layout == "transposed":
        return normal(3, rows, cols).transpose(0, 1)
    if layout == "chunk":
        return normal(rows, 3 * cols).chunk(3, dim=-1)[1]
    if layout == "strided_last":
        return normal(cols, rows).t()
    if layout == "expanded":
        return normal(1, cols).expand(rows, cols)
    if layout == "misaligned":
        return normal(rows * cols + 1)[1:].view(rows, cols)
    raise ValueError(layout)


def tokens(rows: int, cols: int, dtype: torch.dtype, device: str = "cpu") -> Tensor:
    """(2, 2, rows, cols) whose leading dimensions merge nowhere."""
    x = torch.randn(2, rows + 1, 3, cols, generator=generator(5, device), device=device)
    return x.to(dtype)[:, :rows, :2].transpose(1, 2)


ROWS = (0, 1, 3, 199)
COLUMNS = (1, 33, 123, 760, 1023, 1024, 4096, 32768, 65537, 131072)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)

Case = tuple[int, int, torch.dtype, str]


def covering_cases(seed: int) -> list[Case]:
    """(rows, columns, dtype, layout): each value once with each dtype, the rest drawn."""
    rng = random.Random(seed)
    cases = []
    for dtype in DTYPES:
        # a single number a row: many rows, or E(fair) is a draw of one
        cases += [
            (199 if cols == 1 else rng.choice(ROWS[1:]), cols, dtype, rng.choice(LAYOUTS))
            for cols in COLUMNS
        ]
        cases += [(rows, rng.choice(COLUMNS[1:7]), dtype, rng.choice(LAYOUTS)) for rows in ROWS]
        cases += [(3, rng.choice(COLUMNS[1:8]), dtype, layout) for layout in LAYOUTS]
    return cases
