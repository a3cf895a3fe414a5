"""What a GPU runs for the gated units: two kernels, and tiles of 2,048 elements."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._blocks import next_power_of_two, remembered
from cudalint.kernels._dispatch import result_type
from cudalint.kernels._glu import triton_kernels as kernels
from cudalint.kernels._glu.reference import Kind, split
from cudalint.kernels._launch import Launcher, Prepared
from cudalint.kernels._rows import dense_last, rows_of, shape_as_rows

_forward = Launcher(kernels.forward)
_backward = Launcher(kernels.backward)

_contiguous_forwards: dict[tuple[object, ...], Prepared] = {}
_contiguous_backwards: dict[tuple[object, ...], Prepared] = {}

TILE = 2048
FORWARD_WARPS, BACKWARD_WARPS = 4, 8


def tile(cols: int) -> tuple[int, int]:
    """(rows, columns) of a tile."""
    width = min(next_power_of_two(cols), TILE)
    return TILE // width, width


def forward(gate: Tensor, up: Tensor, kind: Kind) -> Tensor:
    contiguous = gate.is_contiguous() and up.is_contiguous()
    key = (gate.shape, gate.dtype, up.dtype, kind)
    prepared = _contiguous_forwards.get(key) if contiguous else None
    if prepared is None:
        gate, up = dense_last(gate), dense_last(up)
    dtype = result_type(gate, up)
    if prepared is not None:
        y = torch.empty_like(gate, dtype=dtype)
    else:
        y = torch.empty(gate.shape, dtype=dtype, device=gate.device)
        if gate.numel() == 0:
            return y
        prepared = _prepare(_forward, (gate, up, y), (kind,))
        if prepared is None:
            return forward(gate.contiguous(), up.contiguous(), kind)
        if contiguous:
            remembered(_contiguous_forwards)[key] = prepared
    prepared(gate, up, y)
    return y


def backward(
    dy: Tensor, gate: Tensor, up: Tensor, kind: Kind, gate_grad: bool, up_grad: bool
) -> tuple[Tensor, Tensor]:
    """(dgate, dup), each empty where it is not asked for."""
    dgate, dup = _gradient(gate, gate_grad), _gradient(up, up_grad)
    _differentiate(dy, gate, up, dgate if gate_grad else None, dup if up_grad else None, kind)
    return dgate, dup


def _gradient(like: Tensor, asked: bool) -> Tensor:
    """To be filled; contiguous."""
    if asked and like.is_contiguous():
        return torch.empty_like(like)
    return torch.empty(like.shape if asked else 0, dtype=like.dtype, device=like.device)


def backward_packed(dy: Tensor, x: Tensor, gate_first: bool, kind: Kind) -> Tensor:
    dx = _gradient(x, True)
    _differentiate(dy, *split(x, gate_first), *split(dx, gate_first), kind)
    return dx


def _differentiate(
    dy: Tensor, gate: Tensor, up: Tensor, dgate: Tensor | None, dup: Tensor | None, kind: Kind
) -> None:
    """Fills `dgate` and `dup`, each where there is one."""
    if gate.numel() == 0 or (dgate is None and dup is None):
        return
    flags = (kind, dgate is not None, dup is not None)
    tensors = [dy, gate, up, gate if dgate is None else dgate, up if dup is None else dup]
    contiguous = all([t.is_contiguous() for t in tensors])
    key = (gate.shape, dy.dtype, gate.dtype, up.dtype, *flags)
    prepared = _contiguous_backwards.get(key) if contiguous else None
    if prepared is None:
        tensors[:3] = [dense_last(t) for t in tensors[:3]]
        prepared = _prepare(_backward, tuple(tensors), flags)
        if prepared is None:
            gate, up = gate.contiguous(), up.contiguous()
            return _differentiate(dy.contiguous(), gate, up, dgate, dup, kind)
        if contiguous:
            remembered(_contiguous_backwards)[key] = prepared
    prepared(*tensors)


def _prepare(
    launcher: Launcher, tensors: tuple[Tensor, ...], switches: tuple[object, ...]
) -> Prepared | None:
    """A launch over tensors of one shape; None where their rows take more than three strides."""
    if all([t.is_contiguous() for t in tensors]):
        tensors = tuple([t.view(-1) for t in tensors])  # one row: nothing is lost at its end
    rows = rows_of(*tensors)
    if rows is None:
        return None
    count, cols = shape_as_rows(tensors[0])
    block_rows, block_cols = tile(cols)
    col_blocks = -(-cols // block_cols)
    return launcher.prepare(
        -(-count // block_rows) * col_blocks,
        tensors,
        (count, cols, col_blocks, *rows.sizes, *rows.strides),
        (rows.levels, *switches, block_rows, block_cols),
        FORWARD_WARPS if launcher is _forward else BACKWARD_WARPS,
    )
