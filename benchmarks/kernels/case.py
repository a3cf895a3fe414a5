"""One timed operation, and how its callers are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

Call = Callable[[], object]
Function = Callable[..., Any]


@dataclass(frozen=True)
class Bar:
    """What ours must reach where the bars by bytes moved do not hold.

    `times` as fast as `peer`, where one is named; `share` of the ceiling, where there is one.
    """

    peer: str | None = None
    times: float = 1.0
    share: float | None = None


@dataclass(frozen=True)
class Case:
    """One row of the table. `work` is bytes moved at least, or operations where `is_compute`.

    Of `calls` "ours" is ours; names with a comma are figures beside; all others are peers. Each makes
    `turns` calls, on other weights each: where there are several, they are replayed from a graph, so
    that neither the host's time is in theirs nor a weight in the cache.
    """

    operation: str
    shape: str
    mode: str
    work: int
    calls: dict[str, Call]
    is_compute: bool = False
    bar: Bar | None = None
    turns: int = 1

    @property
    def is_replayed(self) -> bool:
        return self.turns > 1 or (not self.is_compute and self.work < 16e6)


def compiled(function: Function) -> Function:
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def liger(module: str, name: str) -> Any:
    """Liger's autograd function, or None where Liger is not installed."""
    try:
        return getattr(__import__(f"liger_kernel.ops.{module}", fromlist=[name]), name)
    except ImportError:
        return None


def calls(
    functions: dict[str, Function],
    operands: tuple[Tensor, ...],
    backward: bool,
    fixed: tuple[Tensor, ...] = (),
) -> dict[str, Call]:
    """Each function on `operands` and, without a gradient, `fixed`."""
    if not backward:
        return {name: partial(function, *operands, *fixed) for name, function in functions.items()}
    leaves = tuple(t.detach().requires_grad_() for t in operands)
    first = next(iter(functions.values()))(*operands, *fixed)
    dy = [torch.randn_like(y) for y in _results(first)]
    return {name: partial(_both, f, leaves, fixed, dy) for name, f in functions.items()}


def _both(
    function: Function, leaves: tuple[Tensor, ...], fixed: tuple[Tensor, ...], dy: list[Tensor]
) -> object:
    ys = _results(function(*leaves, *fixed))
    return torch.autograd.grad(ys, leaves, [d.to(y.dtype) for d, y in zip(dy, ys, strict=True)])


def _results(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else result


def name_of(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def both_modes(
    operation: str,
    shape: str,
    functions: dict[str, Function],
    operands: tuple[Tensor, ...],
    work: tuple[int, int],
    fixed: tuple[Tensor, ...] = (),
) -> Iterator[Case]:
    """Forward, and with the backward where that moves enough; `work` is the bytes of each."""
    forward, both = work
    yield Case(operation, shape, "forward", forward, calls(functions, operands, False, fixed))
    if both > 64e6:
        made = calls(functions, operands, True, fixed)
        yield Case(operation, shape, "forward+backward", both, made)
