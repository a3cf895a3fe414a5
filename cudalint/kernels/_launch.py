"""Launching Triton kernels at a small host cost.

`kernel[grid](…)` spends about 7 µs on finding out which compiled variant fits. A `Prepared` launch
has fixed numbers, constants and dtypes, and remembers the variant for each device and alignment:
these are all that Triton specialises on.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

# A program with ever new shapes must not grow the tables for ever.
MOST_REMEMBERED = 4096

Number = int | float

properties = functools.cache(torch.cuda.get_device_properties)

_current_device = torch._C._cuda_getDevice if hasattr(torch._C, "_cuda_getDevice") else None
_current_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)


class Prepared:
    """One launch of one kernel, all but its tensors known."""

    __slots__ = ("_arguments", "_grid", "_kernel", "_knobs", "_options", "_variants")

    def __init__(
        self, kernel: Any, grid: int, arguments: tuple[object, ...], warps: int, stages: int | None
    ) -> None:
        self._kernel = kernel
        self._grid = grid
        self._arguments = arguments
        self._options = {"num_warps": warps} | ({} if stages is None else {"num_stages": stages})
        self._knobs: Any = None
        self._variants: dict[object, tuple[Any, Any, Any]] = {}

    def __call__(self, *tensors: Tensor) -> None:
        device = tensors[0].get_device()
        if device < 0:  # the interpreter
            self._kernel[(self._grid,)](*tensors, *self._arguments)
        elif device == _current_device():  # type: ignore[misc]
            self._launch(device, tensors)
        else:
            with torch.cuda.device(device):
                self._launch(device, tensors)

    def _launch(self, device: int, tensors: tuple[Tensor, ...]) -> None:
        pointers = [t.data_ptr() for t in tensors]
        bits = 0
        for pointer in pointers:
            bits |= pointer
        # nearly always all are aligned: the device alone is the key then
        key = (device, *[p % 16 == 0 for p in pointers]) if bits % 16 else device
        variant = self._variants.get(key)
        if variant is None or self._profiler_listens():
            self._compile_and_launch(key, tensors)
            return
        run, function, metadata = variant
        run(
            self._grid, 1, 1, _current_stream(device), function, metadata,  # type: ignore[misc]
            None, None, None, *pointers, *self._arguments,
        )  # fmt: skip

    def _compile_and_launch(self, key: object, tensors: tuple[Tensor, ...]) -> None:
        from triton import knobs  # type: ignore[import-untyped,import-not-found,unused-ignore]

        self._knobs = knobs.runtime
        compiled = self._kernel[(self._grid,)](*tensors, *self._arguments, **self._options)
        if hasattr(compiled, "result"):  # compiled by another thread
            compiled = compiled.result()
        self._variants[key] = (compiled.run, compiled.function, compiled.packed_metadata)

    def _profiler_listens(self) -> bool:
        """A profiler that hooks launches is told what is launched by Triton's own way only."""
        return bool(self._knobs.launch_enter_hook.calls or self._knobs.launch_exit_hook.calls)


class Launcher:
    """One Triton kernel whose parameters are: pointers, numbers, then constants."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._prepared: dict[tuple[object, ...], Prepared] = {}

    def registers(
        self,
        tensors: tuple[Tensor, ...],
        numbers: tuple[Number, ...],
        constants: tuple[object, ...],
        warps: int,
    ) -> int:
        """Of a thread, as ptxas gives them: the kernel is compiled and loaded, not launched."""
        with torch.cuda.device(tensors[0].get_device()):
            compiled = self._kernel.warmup(
                *tensors, *numbers, *constants, num_warps=warps, grid=(1,)
            )
            if hasattr(compiled, "result"):  # compiled by another thread
                compiled = compiled.result()
            assert compiled.run is not None  # which loads it
        return int(compiled.n_regs)

    def prepare(
        self,
        grid: int,
        tensors: tuple[Tensor, ...],
        numbers: tuple[Number, ...],
        constants: tuple[object, ...],
        warps: int,
        stages: int | None = None,
    ) -> Prepared:
        """A launch for tensors of the dtypes of `tensors`, with these numbers and constants.

        `stages` loads of a loop are under way at once; Triton's own choice by default.
        """
        key = (grid, warps, stages, numbers, constants, tuple([t.dtype for t in tensors]))
        prepared = self._prepared.get(key)
        if prepared is None:
            if len(self._prepared) >= MOST_REMEMBERED:
                self._prepared.clear()
            prepared = Prepared(self._kernel, grid, (*numbers, *constants), warps, stages)
            self._prepared[key] = prepared
        return prepared
