"""Tensors of any strides as rows: up to three strides to step from row to row."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

MOST_LEVELS = 3


class Rows(NamedTuple):
    """The leading dimensions of tensors of one shape, merged as far as all their strides allow.

    `sizes` are the two inner sizes, `strides` three strides for each tensor, outermost first;
    levels that are not there have size 1 and stride 0.
    """

    levels: int
    sizes: tuple[int, int]
    strides: tuple[int, ...]


def rows_of(*tensors: Tensor) -> Rows | None:
    """How to step through the rows of all `tensors` together; None where that takes more levels.

    Their leading dimensions are the same; their last ones need not be.
    """
    strides: list[int] = []
    if all([t.is_contiguous() for t in tensors]):
        for t in tensors:
            strides += (0, 0, t.shape[-1])
        return Rows(1, (1, 1), tuple(strides))
    merged = _merge_leading(tensors)
    if len(merged) > MOST_LEVELS:
        return None
    absent = MOST_LEVELS - len(merged)
    sizes = [1] * absent + [size for size, _ in merged]
    for index in range(len(tensors)):
        strides += [0] * absent + [steps[index] for _, steps in merged]
    return Rows(max(len(merged), 1), (sizes[1], sizes[2]), tuple(strides))


def _merge_leading(tensors: tuple[Tensor, ...]) -> list[tuple[int, list[int]]]:
    """(size, a stride for each tensor) of the leading dimensions, outermost first."""
    merged: list[tuple[int, list[int]]] = []
    for dim in range(tensors[0].dim() - 2, -1, -1):
        size = tensors[0].shape[dim]
        if size == 1:
            continue
        steps = [t.stride(dim) for t in tensors]
        if merged and all(
            [s == merged[0][0] * i for s, i in zip(steps, merged[0][1], strict=True)]
        ):
            merged[0] = (merged[0][0] * size, merged[0][1])
        else:
            merged.insert(0, (size, steps))
    return merged


def dense_last(x: Tensor) -> Tensor:
    """`x`, copied where neighbours in its last dimension do not lie side by side."""
    return x if x.shape[-1] == 1 or x.stride(-1) == 1 else x.contiguous()


def shape_as_rows(x: Tensor) -> tuple[int, int]:
    """(rows, columns); no rows where there are no columns."""
    cols = x.shape[-1]
    return (x.numel() // cols if cols else 0), cols


def merged_stride(x: Tensor) -> int | None:
    """The one stride from row to row of `x`; None where there is more than one."""
    merged = _merge_leading((x,))
    if len(merged) > 1:
        return None
    return merged[0][1][0] if merged else 0
