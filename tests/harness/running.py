"""Fixture programs run for real: a fresh import a side, the same seed, results compared."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from tests.harness.cuda_is_cpu import cuda_is_cpu

SEED = 20251121


def run(path: Path, device: str) -> Any:
    """`run(*inputs(device))` of a program in a file, from a fresh import and a fixed seed."""
    with _precision_kept(), environment(device), imported(path) as module:
        _seed()
        inputs = module.inputs(device)
        _seed()
        return module.run(*inputs)


@contextlib.contextmanager
def _precision_kept() -> Iterator[None]:
    """What a program chooses for float32 products is the process's: the next one must not see it."""
    chosen = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(chosen)


def _seed() -> None:
    random.seed(SEED)
    torch.manual_seed(SEED)
    with contextlib.suppress(ImportError):
        import numpy

        numpy.random.seed(SEED)


def environment(device: str) -> contextlib.AbstractContextManager[None]:
    """On the CPU, CUDA devices are the CPU."""
    return cuda_is_cpu() if device == "cpu" else contextlib.nullcontext()


@contextlib.contextmanager
def imported(path: Path) -> Iterator[ModuleType]:
    """A module of its own for a file, so that classes pickle to data loader workers."""
    name = "_".join(("fixture", *path.with_suffix("").parts[-3:])).replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        _seed()
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


def assert_same(one: Any, other: Any, tolerance: tuple[float, float] | None, at: str = "") -> None:
    """Compare nested results: exactly, or within (rtol, atol)."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        assert one.dtype == other.dtype, f"{at}: {one.dtype} became {other.dtype}"
        assert one.shape == other.shape, f"{at}: {one.shape} became {other.shape}"
        rtol, atol = tolerance or (0.0, 0.0)
        torch.testing.assert_close(
            other, one, rtol=rtol, atol=atol, equal_nan=True, msg=lambda m: f"{at}: {m}"
        )
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys(), at
        for key in one:
            assert_same(one[key], other[key], tolerance, f"{at}.{key}")
    elif isinstance(one, (tuple, list)):
        assert type(one) is type(other) and len(one) == len(other), at
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, tolerance, f"{at}[{index}]")
    elif isinstance(one, float) and tolerance is not None:
        assert type(other) is float, f"{at}: {type(one)} became {type(other)}"
        torch.testing.assert_close(other, one, rtol=tolerance[0], atol=tolerance[1])
    else:
        assert type(one) is type(other) and one == other, f"{at}: {one!r} became {other!r}"


def holds_something(result: Any) -> bool:
    """Whether a result has a tensor element or a number in it, so that comparing it can fail."""
    if isinstance(result, torch.Tensor):
        return result.numel() > 0
    if isinstance(result, Mapping):
        return any(holds_something(value) for value in result.values())
    if isinstance(result, (tuple, list)):
        return any(holds_something(value) for value in result)
    return result is not None
