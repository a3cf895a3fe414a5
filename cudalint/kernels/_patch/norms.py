"""Norms of one tensor: RMS norms of any cast and offset, and layer norms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cudalint.kernels._norms.layer_norm import layer_norm
from cudalint.kernels._patch import probe
from cudalint.kernels._patch.swap import Forward, Swap, own_forward, swap_forward
from cudalint.kernels._rms_norm.function import rms_norm

_NAME = re.compile(r"(rms|layer)_?norm", re.IGNORECASE)
_EPS = ("eps", "variance_epsilon", "epsilon")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# The dtypes of x and of the weight (None: there is none) in which ours was seen to equal theirs.
Proven = frozenset[tuple[torch.dtype, torch.dtype | None]]
Norm = Callable[[nn.Module, Tensor], Tensor]


def swaps(model: nn.Module) -> Iterator[Swap]:
    known: dict[object, tuple[str, Norm, Proven]] = {}
    for path, module in model.named_modules():
        if not _looks_like_a_norm(module):
            continue
        original = own_forward(module)
        if original is None:
            continue
        twins = _twins(module)
        if twins not in known:
            known[twins] = _found(module, original)
        kernel, norm, proven = known[twins]
        if (torch.float32, _weight_dtype(module) and torch.float32) in proven:
            forward = _forward(original, norm, proven, kernel == "layer_norm")
            yield swap_forward(module, path, kernel, forward)


def _looks_like_a_norm(module: nn.Module) -> bool:
    if not _NAME.search(type(module).__name__) or module._modules or module._buffers:
        return False
    if not set(module._parameters) <= {"weight", "bias"}:
        return False
    return _eps(module) is not None


def _twins(module: nn.Module) -> object:
    """A key that modules share which compute the same: a model has few, in a hundred norms."""
    plain = (int, float, str, type(None), tuple, torch.dtype)
    attributes = {k: v for k, v in module.__dict__.items() if not k.startswith("_")}
    if not all(isinstance(value, plain) for value in attributes.values()):
        return id(module)
    parameters = {k: None if p is None else p.shape for k, p in module._parameters.items()}
    return type(module), repr(sorted(attributes.items())), repr(parameters), _weight_dtype(module)


def _eps(module: nn.Module) -> float | None:
    for name in _EPS:
        if isinstance(value := getattr(module, name, None), float):
            return value
    return None


def _candidates(module: nn.Module) -> Iterator[tuple[str, Norm]]:
    eps = _eps(module)
    assert eps is not None
    for cast, offset in (("llama", 0.0), ("late", 0.0), ("late", 1.0)):
        yield "rms_norm", partial(_rms_norm, eps=eps, cast=cast, offset=offset)
    yield "layer_norm", partial(_layer_norm, eps=eps)


def _rms_norm(module: nn.Module, x: Tensor, *, eps: float, cast: Any, offset: float) -> Tensor:
    weight = module._parameters.get("weight")
    offset = 0.0 if weight is None else offset
    return rms_norm(x, weight, eps, cast=cast, weight_offset=offset)


def _layer_norm(module: nn.Module, x: Tensor, *, eps: float) -> Tensor:
    return layer_norm(x, module._parameters.get("weight"), module._parameters.get("bias"), eps)


def _found(module: nn.Module, original: Forward) -> tuple[str, Norm, Proven]:
    """The candidate that equals the module's own code in most dtypes."""
    found = [
        (kernel, norm, _proven(module, original, norm)) for kernel, norm in _candidates(module)
    ]
    return max(found, key=lambda candidate: len(candidate[2]))


def _proven(module: nn.Module, original: Forward, norm: Norm) -> Proven:
    weights = _DTYPES if _weight_dtype(module) else (None,)
    return frozenset(
        (x, weight)
        for x in _DTYPES
        for weight in weights
        if _equal(module, original, norm, x, weight)
    )


def _equal(
    module: nn.Module,
    original: Forward,
    norm: Norm,
    dtype: torch.dtype,
    weight_dtype: torch.dtype | None,
) -> bool:
    width = _width(module)
    parameters = {
        name: None if p is None else probe.normal(*p.shape, dtype=weight_dtype or dtype, seed=i + 1)
        for i, (name, p) in enumerate(module._parameters.items())
    }
    twin = probe.twin(module, parameters, {})
    # small rows, in which eps shows, ordinary and large ones
    x = probe.normal(24, width)
    x[::3] *= 1e-3
    x[1::3] *= 30.0
    x = x.to(dtype)
    theirs = probe.result(lambda: original(twin, x))
    return probe.agree(probe.result(lambda: norm(twin, x)), theirs)


def _width(module: nn.Module) -> int:
    weight = module._parameters.get("weight")
    if weight is not None:
        return weight.shape[-1]
    for name in ("normalized_shape", "dim", "hidden_size"):
        value = getattr(module, name, None)
        value = value[-1] if isinstance(value, tuple) and value else value
        if isinstance(value, int):
            return value
    return 64


def _weight_dtype(module: nn.Module) -> torch.dtype | None:
    weight = module._parameters.get("weight")
    return None if weight is None else weight.dtype


def _forward(original: Forward, norm: Norm, proven: Proven, casts: bool) -> Forward:
    """Ours where it was proven; `casts`: autocast treats layer norms each in its own way."""

    def forward(module: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or (x.dtype, _weight_dtype(module)) not in proven:
            return original(module, x, *args, **kwargs)
        if casts and torch.is_autocast_enabled(x.device.type):
            return original(module, x)
        return norm(module, x)

    return forward
