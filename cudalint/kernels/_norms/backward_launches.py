"""What a GPU runs for the norms of this folder, backward, and how the gradients are summed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._blocks import (
    multiprocessors,
    next_power_of_two,
    remembered,
    shared_memory,
)
from cudalint.kernels._launch import Launcher, Prepared
from cudalint.kernels._norms import backward_kernels
from cudalint.kernels._norms.groups import Groups, in_shape, is_whole
from cudalint.kernels._norms.launches import (
    NARROW,
    Key,
    Tile,
    dense,
    empty,
    layout,
    modulations_of,
    pieces,
    precise,
    rounding,
    scalars,
    short_tile,
)
from cudalint.kernels._norms.reference import Form, Operands
from cudalint.kernels._norms.registration import LONG_ROWS
from cudalint.kernels._rows import dense_last, rows_of

_backward = Launcher(backward_kernels.backward)
_sum_parts = Launcher(backward_kernels.sum_parts)


class Needs(NamedTuple):
    """Which gradients are asked for, in the order of `reference.Gradients`."""

    h: bool
    x: bool
    gate: bool
    weight: bool
    bias: bool
    scale: bool
    shift: bool


MODULATIONS, WEIGHTS = (2, 5, 6), (3, 4)


class Reading(NamedTuple):
    """What the kernel reads. `dy` is None without a norm, `o.x` is the sum without a gate."""

    dy: Tensor | None
    dh: Tensor | None
    h: Tensor
    o: Operands

    def tensors(self) -> tuple[Tensor | None, ...]:
        return (self.dy, self.dh, self.h, *self.o)


class Division(NamedTuple):
    """How the rows are divided: `programs` for each group, and which sums they leave in parts."""

    groups: Groups
    programs: int
    modulation_parts: bool
    weight_parts: bool


class Writing(NamedTuple):
    """The gradients, what the kernel writes in their order, and the parts that are added up."""

    gradients: list[Tensor | None]
    written: list[Tensor]
    modulation_parts: Tensor | None
    weight_parts: Tensor | None


class Plan(NamedTuple):
    division: Division
    launch: Prepared
    add_modulations: Prepared | None
    add_weights: Prepared | None


_plans: dict[Key, Plan] = {}


def backward_tile(cols: int, sums: int) -> Tile:
    """`sums`: how many gradients are summed over rows; over three would spill beside 16 elements."""
    if cols <= 512:
        return short_tile(cols, 1024)
    first, rest = pieces(cols)
    if first + rest in NARROW and sums <= 2:
        return Tile(1, first, rest, 1)
    warps = first // 512
    return Tile(1, first, rest, 2 * warps if rest and sums > 3 else warps)


MOST_PROGRAMS = 8
REGISTERS = 65536


def programs_on_a_multiprocessor(tile: Tile, registers: int, tile_bytes: int, room: int) -> int:
    """How many run at once; each takes rows one by one.

    Rows in flight hide each other's exchanges between threads: more programs than fit would wait for
    a second wave, fewer leave the memory idle.
    """
    by_registers = REGISTERS // (-(-registers // 8) * 8 * 32 * tile.warps)
    return max(min(by_registers, room // tile_bytes, MOST_PROGRAMS), 1)


def stages(tile: Tile, element_bytes: int, room: int) -> int:
    """How far ahead rows are fetched into `room` bytes of shared memory."""
    size, exchanged = tile.elements * element_bytes, 1024 * tile.warps
    if 2 * size + exchanged <= room:
        return 3
    return 2 if size + exchanged <= room else 1


def backward(
    reading: Reading, form: Form, h_dtype: torch.dtype, needs: Needs
) -> list[Tensor | None]:
    """The gradients that `needs` names, the sum's in `h_dtype`; None for the others."""
    sums = sum(needs[2:])
    if reading.dy is None or not needs.gate or reading.h.shape[-1] <= LONG_ROWS or sums <= 2:
        return _backward_at_once(reading, form, h_dtype, needs)
    # beside long rows there is room for two sums: gate's, and x, in a launch of their own
    gated = Needs(*(False,) * 7)._replace(x=needs.x, gate=True)
    normed = needs._replace(h=True, x=False, gate=False)
    found = _backward_at_once(reading, form, h_dtype, normed)
    summed = reading._replace(dy=None, dh=found[0])
    found[1:3] = _backward_at_once(summed, form, h_dtype, gated)[1:3]
    if not needs.h:
        found[0] = None
    return found


def _backward_at_once(
    reading: Reading, form: Form, h_dtype: torch.dtype, needs: Needs
) -> list[Tensor | None]:
    likes = _likes(reading)
    key = (form, needs, h_dtype, reading.h.get_device(), *layout(reading.tensors()))
    plan = _plans.get(key)
    if plan is not None:
        writing = _writing(plan.division, reading.h, likes, h_dtype, needs)
    else:
        if reading.h.numel() == 0:
            return _zeros(reading.h, likes, h_dtype, needs)
        readable = _readable(reading)
        division = _division(readable, form, needs)
        writing = _writing(division, reading.h, likes, h_dtype, needs)
        plan = _prepare(division, readable, writing, form, needs)
        if all([a is b for a, b in zip(reading.tensors(), readable.tensors(), strict=True)]):
            remembered(_plans)[key] = plan
        reading = readable
    _run(plan, reading, writing, needs)
    shape, groups = reading.h.shape, plan.division.groups
    for i in MODULATIONS:
        gradient = writing.gradients[i]
        if gradient is not None:
            writing.gradients[i] = in_shape(gradient, likes[i], shape, groups)
    return writing.gradients


def _likes(reading: Reading) -> list[Tensor]:
    """What each gradient looks like, but for the sum's dtype; the sum where there is none."""
    h, o = reading.h, reading.o
    return [h, o.x, *[h if t is None else t for t in o[2:]]]


def _zeros(
    h: Tensor, likes: list[Tensor], h_dtype: torch.dtype, needs: Needs
) -> list[Tensor | None]:
    dtypes = [h_dtype, *[t.dtype for t in likes[1:]]]
    return [
        torch.zeros(like.shape, dtype=dtype, device=h.device) if need else None
        for like, dtype, need in zip(likes, dtypes, needs, strict=True)
    ]


def _readable(reading: Reading) -> Reading:
    """Copies of what the kernel cannot step through."""
    dy, dh, h, o = reading
    dy, h, x = None if dy is None else dense_last(dy), dense_last(h), dense_last(o.x)
    if rows_of(h if dy is None else dy, h, x) is None:
        dy, h, x = None if dy is None else dy.contiguous(), h.contiguous(), x.contiguous()
    _, (gate, scale, _), _ = modulations_of(o)
    o = Operands(x, None, gate, dense(o.weight), dense(o.bias), scale, o.shift)
    return Reading(dy, None if dh is None else dh.contiguous(), h, o)


def _division(r: Reading, form: Form, needs: Needs) -> Division:
    groups, _, _ = modulations_of(r.o)
    tile = backward_tile(r.h.shape[-1], sum(needs[2:]))
    row_blocks = -(-groups.rows // tile.rows)
    weights = needs.weight or needs.bias
    modulations = not groups.per_row and (needs.gate or needs.scale or needs.shift)
    if not weights and not modulations:
        return Division(groups, row_blocks, False, False)
    share = _programs_at_once(r, form, needs, tile, groups) // groups.number
    programs = max(min(row_blocks, share), 1)
    return Division(groups, programs, modulations and programs > 1, weights)


def _programs_at_once(r: Reading, form: Form, needs: Needs, tile: Tile, groups: Groups) -> int:
    """On the whole GPU, by the registers of the kernel compiled; 2 in the interpreter."""
    device = r.h.get_device()
    if device < 0:
        return 2
    part = torch.empty(0, dtype=torch.float32, device=r.h.device)
    tensors = (*_pointers(r), r.h, r.o.x, *[part] * 5)
    registers = _backward.registers(
        tensors, *_arguments(r, form, needs, tile, groups, 2), tile.warps
    )
    bytes_ahead = 2 * tile.elements * sum([t.element_size() for t in _rows_read(r, needs)])
    each = programs_on_a_multiprocessor(tile, registers, bytes_ahead + 2048, shared_memory(device))
    return multiprocessors(device) * each


def _writing(
    division: Division, h: Tensor, likes: list[Tensor], h_dtype: torch.dtype, needs: Needs
) -> Writing:
    groups, cols, whole = division.groups, h.shape[-1], h.shape
    gradients: list[Tensor | None] = []
    for i, (like, need) in enumerate(zip(likes, needs, strict=True)):
        if not need:
            gradients.append(None)
            continue
        size: tuple[int, ...] = whole
        dtype = like.dtype if i else h_dtype
        if i in WEIGHTS:
            size = (cols,)
        elif i in MODULATIONS:
            size = (groups.modulation_rows, cols)
            if not is_whole(like, h.shape, groups):  # summed once more
                dtype = torch.float32
        if size is whole:
            gradients.append(empty(h, dtype))
        else:
            gradients.append(torch.empty(size, dtype=dtype, device=h.device))
    written = [h if t is None else t for t in gradients]  # h is in nobody's way: not written
    programs = groups.number * division.programs
    parts: list[Tensor | None] = []
    for kind, there in (
        (MODULATIONS, division.modulation_parts),
        (WEIGHTS, division.weight_parts),
    ):
        asked = [i for i in kind if needs[i]]
        part = None
        if there:
            part = torch.empty((len(asked), programs, cols), dtype=torch.float32, device=h.device)
            for i, one in zip(asked, part.unbind(0), strict=True):
                written[i] = one
        parts.append(part)
    return Writing(gradients, written, *parts)


def _prepare(division: Division, r: Reading, writing: Writing, form: Form, needs: Needs) -> Plan:
    groups, programs, _, _ = division
    tile = backward_tile(r.h.shape[-1], sum(needs[2:]))
    launch = _backward.prepare(
        groups.number * programs,
        (*_pointers(r), *writing.written),
        *_arguments(r, form, needs, tile, groups, programs),
        tile.warps,
    )
    return Plan(
        division,
        launch,
        _adder(writing.modulation_parts, writing, MODULATIONS, needs, groups.number),
        _adder(writing.weight_parts, writing, WEIGHTS, needs, 1),
    )


def _arguments(
    r: Reading, form: Form, needs: Needs, tile: Tile, groups: Groups, programs: int
) -> tuple[tuple[int | float, ...], tuple[object, ...]]:
    """The kernel's numbers and constants."""
    o, cols = r.o, r.h.shape[-1]
    rows = rows_of(r.h if r.dy is None else r.dy, r.h, o.x)
    assert rows is not None
    _, _, (g_stride, s_stride, _) = modulations_of(o)
    numbers = (
        groups.rows, programs, cols, *rows.sizes, *rows.strides, g_stride, s_stride,
        *scalars(form, cols),
    )  # fmt: skip
    constants = (
        rows.levels, r.dy is not None, form.layer, rounding(form), r.dh is not None,
        *[t is not None for t in (o.gate, o.weight, o.bias, o.scale)],
        groups.per_row, *needs, precise(form), _stages(r, tile, groups, needs),
        *tile.constants(groups.rows, cols),
    )  # fmt: skip
    return numbers, constants


def _stages(r: Reading, tile: Tile, groups: Groups, needs: Needs) -> int:
    """1 where a program has one tile of rows."""
    if not (needs.weight or needs.bias) and (groups.per_row or not sum(needs[2:])):
        return 1
    size = sum([t.element_size() for t in _rows_read(r, needs)])
    return stages(tile, size, shared_memory(r.h.get_device()))


def _rows_read(r: Reading, needs: Needs) -> list[Tensor]:
    normed = r.dy is not None
    read = (r.dy, r.h if normed else None, r.dh, r.o.x if needs.gate else None)
    return [t for t in read if t is not None]


def _adder(
    parts: Tensor | None, writing: Writing, kind: tuple[int, ...], needs: Needs, groups: int
) -> Prepared | None:
    if parts is None:
        return None
    number, programs, cols = parts.shape
    rows = min(next_power_of_two(programs // groups), 64)
    return _sum_parts.prepare(
        number * groups * -(-cols // 32),
        (parts, *_sums(writing, kind, needs)),
        (groups, programs // groups, cols),
        (rows, 32),
        4,
    )


def _sums(writing: Writing, kind: tuple[int, ...], needs: Needs) -> list[Tensor]:
    """The gradients of one kind; the last stands in for those that are not asked for."""
    sums = [t for t in (writing.gradients[i] for i in kind) if t is not None]
    return sums + sums[-1:] * (3 - len(sums))


def _pointers(r: Reading) -> list[Tensor]:
    o = r.o
    read = (r.dy, r.dh, r.h, o.x, o.gate, o.weight, o.bias, o.scale)
    return [r.h if t is None else t for t in read]


def _run(plan: Plan, r: Reading, writing: Writing, needs: Needs) -> None:
    plan.launch(*_pointers(r), *writing.written)
    if plan.add_modulations is not None and writing.modulation_parts is not None:
        plan.add_modulations(writing.modulation_parts, *_sums(writing, MODULATIONS, needs))
    if plan.add_weights is not None and writing.weight_parts is not None:
        plan.add_weights(writing.weight_parts, *_sums(writing, WEIGHTS, needs))
