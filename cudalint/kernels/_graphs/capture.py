"""One CUDA graph: warm-up, capture, replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


class GraphPool:
    """Device memory that several graphed functions share, for what they hold between two kernels.

    Functions that never run at the same time may share one: ``graphed(fn, x, pool=pool)``. Each
    would keep memory of its own otherwise, as large as all its intermediate results (float64 or
    any other dtype). Results are copied out after each replay, so none is overwritten by another.

    On the CPU it holds nothing.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    @property
    def handle(self) -> Any:
        """torch's name of the pool, made when it is first asked for: that needs a CUDA device."""
        if self._handle is None:
            self._handle = torch.cuda.graph_pool_handle()
        return self._handle


class Plan(NamedTuple):
    """How to capture `fn`."""

    fn: Callable[..., Any]
    warmup: int
    restore: Sequence[Tensor]
    pool: GraphPool


class Graph(NamedTuple):
    """A captured call: what to fill before a replay, and where its result is after it."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    result: Any

    def replay(self, inputs: Sequence[Tensor]) -> Any:
        for buffer, given in zip(self.inputs, inputs, strict=True):
            buffer.copy_(given, non_blocking=True)
        self.graph.replay()
        return copied(self.result)


def capture(plan: Plan, arguments: Sequence[Any]) -> Graph:
    """`arguments` as the call has them; their tensors get buffers of the graph's own."""
    buffers = [t.detach().clone() if isinstance(t, Tensor) else t for t in arguments]
    graph = torch.cuda.CUDAGraph()
    with _no_autocast_cache():
        with _restored(plan.restore):
            _warm_up(plan, buffers)
        result = _captured(plan, graph, buffers)  # runs nothing: there is nothing to restore
    return Graph(graph, tuple(t for t in buffers if isinstance(t, Tensor)), result)


def _warm_up(plan: Plan, buffers: Sequence[Any]) -> None:
    """On a stream of its own, as capturing will: kernels are compiled, libraries initialized."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(plan.warmup):
            run(plan.fn, buffers)
    torch.cuda.current_stream().wait_stream(side)


def _captured(plan: Plan, graph: torch.cuda.CUDAGraph, buffers: Sequence[Any]) -> Any:
    try:
        # other threads, such as a loader's, may go on using the device
        with torch.cuda.graph(graph, pool=plan.pool.handle, capture_error_mode="thread_local"):
            return run(plan.fn, buffers)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise RuntimeError(
            f"graphed: fn cannot be captured ({reason}); accepted: a function that never waits for "
            f"the device (no .item(), .cpu(), bool of a tensor, nonzero) and uses one stream"
        ) from error


@contextmanager
def _restored(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Puts back the tensors, and the state of the random numbers."""
    kept, random = [t.detach().clone() for t in tensors], torch.cuda.get_rng_state()
    yield
    with torch.no_grad():
        for tensor, value in zip(tensors, kept, strict=True):
            tensor.copy_(value)
    torch.cuda.set_rng_state(random)


@contextmanager
def _no_autocast_cache() -> Iterator[None]:
    """Weights that autocast has cast before, and remembers, would be read after they are freed."""
    enabled = torch.is_autocast_cache_enabled()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


def run(fn: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """`fn(*arguments)`, refused where a replay could not mean the same."""
    versions = [t._version if isinstance(t, Tensor) else 0 for t in arguments]
    result = fn(*arguments)
    for i, (argument, version) in enumerate(zip(arguments, versions, strict=True)):
        if isinstance(argument, Tensor) and argument._version != version:
            raise ValueError(
                f"graphed: fn writes to its argument {i}; accepted: a function that writes to "
                f"nothing but tensors that it closes over"
            )
    if any(isinstance(t, Tensor) and t.requires_grad for t in tree_leaves(result)):
        raise ValueError(
            "graphed: the result of fn requires a gradient; accepted: a call under "
            "torch.no_grad(), or a fn that runs its own backward and gives detached results"
        )
    return result


def copied(result: Any) -> Any:
    """The same structure with copies of its tensors."""
    return tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, result)
