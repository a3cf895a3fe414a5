"""The public function."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from cudalint.kernels._graphs.capture import Graph, GraphPool, Plan, capture, run

Result = TypeVar("Result")


class Graphed(Generic[Result]):
    """What `graphed` gives: called as `fn` is; ``reset()`` frees its graphs."""

    def __init__(self, plan: Plan, most_graphs: int) -> None:
        self._plan, self._most = plan, most_graphs
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()

    def __call__(self, *arguments: Any) -> Result:
        if torch.compiler.is_compiling():
            return self._plan.fn(*arguments)  # type: ignore[no-any-return]
        tensors = _tensors(arguments)
        device = _device(tensors)
        if device is None:
            return run(self._plan.fn, arguments)  # type: ignore[no-any-return]
        with torch.cuda.device(device):
            if torch.cuda.is_current_stream_capturing():
                return run(self._plan.fn, arguments)  # type: ignore[no-any-return]
            graph = self._graph(arguments, tensors)
            return graph.replay(tensors)  # type: ignore[no-any-return]

    def prepare(self, *arguments: Any) -> None:
        """Captures what a call with such arguments needs; on the CPU only looks at them."""
        tensors = _tensors(arguments)
        device = _device(tensors)
        _key(arguments)
        if device is not None:
            with torch.cuda.device(device):
                self._graph(arguments, tensors)

    def reset(self) -> None:
        """Frees the graphs; the next call captures again."""
        self._graphs.clear()

    def __len__(self) -> int:
        """How many graphs it holds."""
        return len(self._graphs)

    def _graph(self, arguments: tuple[Any, ...], tensors: list[Tensor]) -> Graph:
        key = _key(arguments)
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = capture(self._plan, arguments)
            if len(self._graphs) > self._most:
                self._graphs.popitem(last=False)
        else:
            self._graphs.move_to_end(key)
        return graph


def graphed(
    fn: Callable[..., Result],
    *example_inputs: Any,
    warmup: int = 3,
    restore: Iterable[Tensor] = (),
    pool: GraphPool | None = None,
    most_graphs: int = 16,
) -> Graphed[Result]:
    """`fn` as a CUDA graph: its kernels start in one launch, without the host's time for each.

    `fn` is captured for arguments like `example_inputs`; a call with tensors of other shapes,
    strides, dtypes or devices, with other constants, or under another autocast or gradient mode
    captures another graph, up to `most_graphs`, of which the least recently used goes. A call
    copies its tensors into the graph's buffers, replays it, and gives copies of its results. `fn`
    may read and write tensors that it closes over (weights, caches, optimizer states) as long as
    they stay where they are. Random numbers are new at each replay.

    Before a capture `fn` runs `warmup` times. What it writes to meanwhile is to be named in
    `restore` (``cache.state`` of the caches here), which is put back as it was.

    Arguments: tensors on one device, without gradients, and constants that can be hashed. `fn` must
    not wait for the device, write to its arguments, or give results that require a gradient: a
    training step runs its backward and its optimizer itself. Its results may be nested.
    Dtypes: any, float64 too; nothing is computed here.
    Moves: the arguments and the results once more.
    Runs: on the CUDA device of the tensors, on the current one where there are none; with tensors
    of the CPU, without a CUDA device, inside another capture and while compiling, `fn` itself.
    Raises ValueError for arguments on several devices or with gradients, constants that cannot be
    hashed, a `warmup` or `most_graphs` below 1, and a `fn` that writes to its arguments or gives
    results with gradients; RuntimeError where CUDA cannot capture it.

    Nguyen et al., Accelerating PyTorch with CUDA Graphs, pytorch.org/blog, 2021.
    """
    for name, value in (("warmup", warmup), ("most_graphs", most_graphs)):
        if value < 1:
            raise ValueError(f"graphed: {name} is {value}; accepted: 1 or more")
    plan = Plan(fn, warmup, tuple(restore), pool or GraphPool())
    ours: Graphed[Result] = Graphed(plan, most_graphs)
    ours.prepare(*example_inputs)
    return ours


def _tensors(arguments: tuple[Any, ...]) -> list[Tensor]:
    tensors = [a for a in arguments if isinstance(a, Tensor)]
    if torch.is_grad_enabled():
        for i, argument in enumerate(arguments):
            if isinstance(argument, Tensor) and argument.requires_grad:
                raise ValueError(
                    f"graphed: argument {i} requires a gradient; accepted: tensors that do not, or "
                    f"a call under torch.no_grad()"
                )
    return tensors


def _device(tensors: list[Tensor]) -> torch.device | None:
    """The CUDA device that a call runs on, None for the CPU."""
    if not tensors:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return None
    device = tensors[0].device
    for tensor in tensors[1:]:
        if tensor.device != device:
            raise ValueError(
                f"graphed: arguments are on {device} and {tensor.device}; accepted: one device"
            )
    return device if device.type == "cuda" else None


def _key(arguments: tuple[Any, ...]) -> Hashable:
    """What a graph was made for."""
    parts: list[Hashable] = [
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
    ]
    for i, argument in enumerate(arguments):
        if isinstance(argument, Tensor):
            parts.append((argument.shape, argument.stride(), argument.dtype, argument.device))
            continue
        try:
            hash(argument)
        except TypeError:
            raise ValueError(
                f"graphed: argument {i} is a {type(argument).__name__}; accepted: tensors, and "
                f"constants that can be hashed"
            ) from None
        parts.append((type(argument), argument))
    return tuple(parts)
