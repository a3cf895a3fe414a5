"""Times on the GPU and on the host, and the ceilings of the machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from triton.testing import do_bench, do_bench_cudagraph

RUNS = 3


def gpu_time(call: Callable[[], object], replayed: bool) -> float | str:
    """Seconds, the median of three medians, by graph replays where `replayed`; or why there is none."""
    try:
        return statistics.median(_once(call, replayed) for _ in range(RUNS)) / 1e3
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    finally:
        torch.cuda.synchronize()


def _once(call: Callable[[], object], replayed: bool) -> float:
    """Milliseconds; between calls do_bench writes over the cache."""
    if replayed:
        with torch.cuda.stream(torch.cuda.Stream()):
            return float(do_bench_cudagraph(call, rep=20, return_mode="median"))
    return float(do_bench(call, warmup=5, rep=25, return_mode="median"))


def host_time(call: Callable[[], object]) -> float:
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
    return _known(gpu_time(lambda: target.copy_(source), replayed=False))


def _product() -> float:
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return _known(gpu_time(lambda: a @ b, replayed=False))


def _known(seconds: float | str) -> float:
    if isinstance(seconds, str):
        raise SystemExit(f"benchmarks.kernels: no ceiling: {seconds}")
    return seconds
