"""Times on the GPU and on the host, and the ceilings of the machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from triton.testing import do_bench, do_bench_cudagraph

RUNS = 3
# A host that is busy for more of a call's time than this keeps the GPU waiting, here or there.
HOST_BOUND = 0.7

Call = Callable[[], object]
Seconds = float | str


class Timing(NamedTuple):
    """Of each name: seconds, or why there are none.

    `calls`, where a row is timed by graph replays: seconds of calls as a program makes them. `host`:
    the host's seconds of a call, of those that do not wait for the GPU. `not_captured`: timed as
    calls all the same.
    """

    seconds: dict[str, Seconds]
    timed: str
    calls: dict[str, Seconds]
    host: dict[str, float]
    not_captured: list[str]


def row_times(
    calls: dict[str, Call], replayed: bool, turns: int = 1, is_compute: bool = False
) -> Timing:
    """All entrants of a row in the same way: calls, or replays of graphs. Seconds of one of `turns`.

    By graphs what is to be `replayed`, many calls a graph; and where the host decides how long the
    call of any entrant takes, one call a graph, with the cache written over between two replays.
    What computes is warmed up first: the order of the entrants would decide.
    """
    if replayed:
        found = {n: _attempt(partial(_replayed, alone=False), c) for n, c in calls.items()}
        seconds = {n: s / turns if isinstance(s, float) else s for n, s in found.items()}
        return Timing(seconds, "graph", {}, {}, [])
    first = {name: _attempt(_called, call) for name, call in calls.items()}
    host = {n: t for n, s in first.items() if isinstance(s, float) and (t := _host(calls[n]))}
    if all(host[n] <= HOST_BOUND * float(first[n]) for n in host):
        seconds = {n: _more(s, calls[n], is_compute) for n, s in first.items()}
        return Timing(seconds, "calls", {}, host, [])
    seconds, not_captured = {}, []
    for name, call in calls.items():
        seconds[name] = first[name]
        if isinstance(first[name], float):
            seconds[name] = _attempt(partial(_replayed, alone=True), call)
            if isinstance(seconds[name], str):
                not_captured.append(name)
                seconds[name] = _more(first[name], call)
    torch.cuda.empty_cache()  # what the graphs had
    return Timing(seconds, "graph", first, host, not_captured)


def _attempt(time_of: Callable[[Call], float], call: Call) -> Seconds:
    try:
        return time_of(call)
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"
    finally:
        torch.cuda.synchronize()


def gpu_time(call: Call) -> Seconds:
    """Seconds of a call, the median of three medians; or why there is none."""
    return _more(_attempt(_called, call), call)


def _more(first: Seconds, call: Call, warm_up: bool = False) -> Seconds:
    """The median of `first` and two more; with `warm_up` it is made anew."""
    if warm_up and isinstance(first, float):
        first = _attempt(_warmed, call)
    if isinstance(first, str):
        return first
    others = [_attempt(_called, call) for _ in range(RUNS - 1)]
    failed = [other for other in others if isinstance(other, str)]
    return failed[0] if failed else statistics.median([first, *map(float, others)])


def _called(call: Call) -> float:
    """Between calls do_bench writes over the cache."""
    return float(do_bench(call, warmup=5, rep=25, return_mode="median")) / 1e3


def _warmed(call: Call) -> float:
    """The same on a GPU that has worked for 0.1 s; while it is cool, its clock is up to 10 % faster."""
    do_bench(call, warmup=100, rep=1)
    return _called(call)


def _replayed(call: Call, alone: bool) -> float:
    """By a graph of one call, `alone`, the cache written over before each; or of many in a row."""
    if alone:
        graph = _captured(call)
        return statistics.median([_called(graph.replay) for _ in range(RUNS)])
    with torch.cuda.stream(torch.cuda.Stream()):
        times = [do_bench_cudagraph(call, rep=5, return_mode="median") for _ in range(RUNS)]
    return float(statistics.median(times)) / 1e3


def _captured(call: Call) -> Any:
    """A graph of one call. What waits for the GPU raises before anything is captured."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), _NoWaiting():
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


class _NoWaiting:
    """Within it what makes the host wait for the GPU raises RuntimeError."""

    def __enter__(self) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *error: object) -> None:
        torch.cuda.set_sync_debug_mode("default")


def _host(call: Call) -> float | None:
    """The host's seconds of a call that finds the GPU idle; None where it waits for the GPU."""
    times = []
    try:
        for _ in range(7):
            torch.cuda.synchronize()
            with _NoWaiting():
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
    except RuntimeError:
        return None
    finally:
        torch.cuda.synchronize()
    return statistics.median(times)


def host_time(call: Call) -> float:
    """Seconds of the host a call, from 1,000 in a row without synchronisation, best of five."""
    for _ in range(20):
        call()
    times = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(1000):
            call()
        times.append(time.perf_counter() - start)
    return min(times) / 1000


def ceilings() -> dict[str, float]:
    """TB/s of a device copy of 2 GB, TFLOP/s of a bfloat16 product of 8192³, on random data."""
    return {
        "copy TB/s": 4 * 2**30 / _copy() / 1e12,
        "matmul TFLOP/s": 2 * 8192**3 / _product() / 1e12,
    }


def _copy() -> float:
    source = torch.randn(2**30, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return _known(gpu_time(lambda: target.copy_(source)))


def _product() -> float:
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return _known(gpu_time(lambda: a @ b))


def _known(seconds: Seconds) -> float:
    if isinstance(seconds, str):
        raise SystemExit(f"benchmarks.kernels: no ceiling: {seconds}")
    return seconds
