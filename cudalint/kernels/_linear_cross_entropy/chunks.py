"""The product and its cross-entropy chunk by chunk of rows: never more than one chunk of logits.

The products are torch's own (cuBLAS on a GPU); the cross-entropy is that of `cross_entropy`, whose
gradient takes the place of the logits. The backward makes each chunk again: four products for three.
Logits of half a chunk are kept instead: with their gradient they fill one, and three products do.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._cross_entropy import reference as cross_entropy_reference
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._cross_entropy.registration import launches
from cudalint.kernels._dispatch import kernel_runs

# Elements of a chunk, 512 MB in half precision: adding each chunk's product to a weight gradient in
# float32 costs what about 500 rows of that product do, so a chunk should have many more.
CHUNK = 2**28

# Classes whose product is held at a time where it cannot be added in float32 at once.
SLICE = 8192


class Layer(NamedTuple):
    """The operands as matrices: x (N, H), weight (C, H), bias (C,) or None, target (N,)."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    target: Tensor

    def chunk(self, rows: slice) -> Layer:
        return self._replace(x=self.x[rows], target=self.target[rows])

    def is_kept(self) -> bool:
        """Whether all logits and their gradient together are no more than a chunk."""
        return 2 * self.x.shape[0] * self.weight.shape[0] <= CHUNK

    def rows(self) -> int:
        """The rows of a chunk: a multiple of 256 where there are so many."""
        most = max(CHUNK // self.weight.shape[0], 1)
        return min(most if most < 256 else most // 256 * 256, max(self.x.shape[0], 1))

    def chunks(self) -> Iterator[slice]:
        size = self.rows()
        for start in range(0, self.x.shape[0], size):
            yield slice(start, start + size)

    def buffer(self) -> Tensor:
        return self.x.new_empty(self.rows(), self.weight.shape[0])

    def logits(self, buffer: Tensor) -> Tensor:
        out = buffer[: self.x.shape[0]]
        if self.bias is None:
            return torch.mm(self.x, self.weight.t(), out=out)
        return torch.addmm(self.bias, self.x, self.weight.t(), out=out)


def forward(layer: Layer, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each row, (2, N) statistics, and the logits where they are kept, else nothing."""
    wide = torch.float64 if layer.x.dtype == torch.float64 else torch.float32
    count, buffer = layer.x.shape[0], layer.buffer()
    losses = layer.x.new_empty(count, dtype=wide)
    statistics = layer.x.new_empty((2, count), dtype=wide)
    run = launches() if kernel_runs(layer.x) else cross_entropy_reference
    for rows in layer.chunks():
        chunk = layer.chunk(rows)
        losses[rows], statistics[:, rows] = run.rows_forward(
            chunk.logits(buffer), chunk.target, options
        )
    return losses, statistics, buffer[:count] if layer.is_kept() else layer.x.new_empty(0)


def backward(
    dloss: Tensor, layer: Layer, statistics: Tensor, share: Tensor, logits: Tensor,
    options: Options, needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x, weight and bias, each empty where `needs` has False."""
    need_x, need_weight, need_bias = needs
    x, weight = layer.x, layer.weight
    buffer, once = layer.buffer(), layer.rows() >= x.shape[0] > 0
    dx = torch.empty_like(x) if need_x else x.new_empty(0)
    wide = weight.dtype if once else torch.promote_types(weight.dtype, torch.float32)
    make = weight.new_empty if once else weight.new_zeros
    dweight = make(weight.shape if need_weight else 0, dtype=wide)
    dbias = weight.new_zeros(weight.shape[0] if need_bias else 0, dtype=statistics.dtype)
    for rows in layer.chunks():
        chunk = layer.chunk(rows)
        made = logits if logits.numel() else chunk.logits(buffer)
        chunk_loss = dloss[rows] if options.reduction == "none" else dloss
        dlogits = _dlogits(
            chunk_loss, made, buffer, chunk.target, statistics[:, rows], share, options
        )
        if need_x:
            torch.mm(dlogits, weight, out=dx[rows])
        if need_weight and once:
            torch.mm(dlogits.t(), chunk.x, out=dweight)
        elif need_weight:
            add_product(dweight, dlogits, chunk.x)
        if need_bias:
            dbias += dlogits.sum(0, dtype=dbias.dtype)
        del made, dlogits
    del buffer  # before the sum in float32 is rounded: its room is enough for that
    return dx, dweight.to(weight.dtype), dbias.to(weight.dtype)


def _dlogits(
    dloss: Tensor, logits: Tensor, buffer: Tensor, target: Tensor, statistics: Tensor,
    share: Tensor, options: Options,
) -> Tensor:  # fmt: skip
    """The gradient of a chunk's logits, in `buffer`, which may be where they lie."""
    if kernel_runs(logits):
        run, dx = launches().backward, buffer[: logits.shape[0]]
        dlogits: Tensor = run(dloss, logits, target, statistics, share, options, dx=dx)
        return dlogits
    if options.reduction != "none":
        dloss = (dloss * share).expand(target.shape)
    return cross_entropy_reference.rows_backward(dloss, logits, target, statistics, options)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += aᵀ · b, added in total's dtype."""
    if total.dtype == a.dtype:
        torch.addmm(total, a.t(), b, out=total)
    elif a.is_cuda and _adds_in_float32(a.dtype):
        torch.addmm(total, a.t(), b, out_dtype=total.dtype, out=total)
    else:
        for start in range(0, total.shape[0], SLICE):
            total[start : start + SLICE] += torch.mm(a[:, start : start + SLICE].t(), b)


@functools.cache
def _adds_in_float32(dtype: torch.dtype) -> bool:
    """Whether this torch adds a product of halves to a float32 matrix in one call."""
    a = torch.ones(16, 16, dtype=dtype, device="cuda")
    total = torch.zeros(16, 16, dtype=torch.float32, device="cuda")
    try:
        torch.addmm(total, a, a, out_dtype=total.dtype, out=total)
    except (RuntimeError, TypeError):
        return False
    return True
