"""Gated units: the forms of transformers' MLPs and of diffusers' GEGLU and SwiGLU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from cudalint.kernels._glu.function import geglu, geglu_packed, swiglu, swiglu_packed
from cudalint.kernels._patch import probe
from cudalint.kernels._patch.swap import Forward, Swap, own_forward, swap_forward

_ACTIVATIONS = {"act_fn", "activation_fn", "activation", "act"}
_NAMES = ("mlp", "glu", "feedforward", "feed_forward")

# Of a module's projections: those that make gate and up, one or two, and the one behind, if any.
_SHAPES: dict[frozenset[str], tuple[tuple[str, ...], str]] = {
    frozenset({"gate_proj", "up_proj", "down_proj"}): (("gate_proj", "up_proj"), "down_proj"),
    frozenset({"gate_up_proj", "down_proj"}): (("gate_up_proj",), "down_proj"),
    frozenset({"proj"}): (("proj",), ""),
}
Unit = Callable[..., Tensor]
_SPLIT: dict[str, tuple[Unit, ...]] = {
    "swiglu": (swiglu,),
    "geglu": (geglu, partial(geglu, approximate="tanh")),
}
_PACKED: dict[str, tuple[Unit, ...]] = {
    "swiglu_packed": tuple(partial(swiglu_packed, gate_first=first) for first in (True, False)),
    "geglu_packed": tuple(
        partial(geglu_packed, gate_first=first, approximate=approximate)
        for first in (True, False)
        for approximate in ("none", "tanh")
    ),
}
_IN, _HIDDEN = 4, 6


def swaps(model: nn.Module) -> Iterator[Swap]:
    for path, module in model.named_modules():
        names = frozenset(module._modules) - _ACTIVATIONS
        if names not in _SHAPES or module._parameters or module._buffers:
            continue
        if not any(name in type(module).__name__.lower() for name in _NAMES):
            continue
        original = own_forward(module)
        if original is None:
            continue
        for kernel, forward in _forwards(*_SHAPES[names]):
            if _equal(module, original, forward):
                yield swap_forward(module, path, kernel, forward)
                break


def _forwards(inputs: tuple[str, ...], output: str) -> Iterator[tuple[str, Forward]]:
    for kernel, units in (_SPLIT if len(inputs) == 2 else _PACKED).items():
        for unit in units:
            yield kernel, _forward(inputs, unit, output)


def _forward(inputs: tuple[str, ...], unit: Unit, output: str) -> Forward:
    def forward(module: nn.Module, x: Tensor) -> Any:
        y = unit(*[getattr(module, name)(x) for name in inputs])
        return getattr(module, output)(y) if output else y

    return forward


def _equal(module: nn.Module, original: Forward, forward: Forward) -> bool:
    children = {name: _projection(name) for name in set(module._modules) - _ACTIVATIONS}
    twin = probe.twin(module, {}, children)
    x = 2.0 * probe.normal(64, _IN)
    theirs = probe.result(lambda: original(twin, x))
    return probe.agree(probe.result(lambda: forward(twin, x)), theirs)


def _projection(name: str) -> nn.Module:
    """Of the width that its name says; with weights that depend on nothing but the name."""
    width_in = _HIDDEN if name == "down_proj" else _IN
    packed = 2 * _HIDDEN if name in ("proj", "gate_up_proj") else _HIDDEN
    width_out = _IN if name == "down_proj" else packed
    linear = nn.Linear(width_in, width_out, bias=False, device="meta")
    weight = probe.normal(width_out, width_in, seed=len(name))
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear
