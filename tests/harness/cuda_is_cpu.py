"""Run code that names CUDA on the CPU: devices are sent there, the rest of torch is left alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

_MOVES = {torch.Tensor.to, torch.Tensor.type}
_HERE = {torch.Tensor.cuda, torch.Tensor.pin_memory}


def _on_cpu(value: Any) -> Any:
    """A device argument sent to the CPU; anything else as it is."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    if isinstance(value, str) and value.split(":")[0] == "cuda":
        return "cpu"
    return value


class CudaIsCpu(TorchFunctionMode):
    """Sends CUDA devices, `.cuda()` and `pin_memory()` to the CPU."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _HERE:
            return args[0]
        if func in _MOVES:
            args = tuple(_on_cpu(value) for value in args)
        kwargs = {
            key: _on_cpu(value) if key == "device" else value for key, value in kwargs.items()
        }
        kwargs.pop("pin_memory", None)
        args = tuple(_on_cpu(v) if isinstance(v, torch.device) else v for v in args)
        return func(*args, **kwargs)


@contextlib.contextmanager
def cuda_is_cpu() -> Iterator[None]:
    """Inside, programs written for CUDA run on the CPU; `is_available()` stays false."""
    with contextlib.ExitStack() as stack:
        for name in ("synchronize", "set_device", "empty_cache"):
            # an object a name: torch's tracer keeps a table of functions by identity
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *_, **__: None))
        stack.enter_context(mock.patch.object(torch.nn.Module, "cuda", lambda self, *_, **__: self))
        stack.enter_context(CudaIsCpu())
        yield
