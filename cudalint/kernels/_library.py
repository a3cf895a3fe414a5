"""The `torch.library` namespace that the opaque operators are registered in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

NAMESPACE = "cudalint"
LIBRARY = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]


def define(schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """One opaque operator: the same `run` on CPU and CUDA, `fake` for shapes and dtypes."""
    name = f"{NAMESPACE}::{schema.partition('(')[0]}"
    LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    for key in ("CPU", "CUDA"):
        LIBRARY.impl(name, run, key)  # type: ignore[no-untyped-call]
    torch.library.register_fake(name, fake, lib=LIBRARY)


def differentiate(
    function: str, backward: Callable[..., Any], setup_context: Callable[..., Any]
) -> None:
    """The derivative of `function`, and for `<function>_backward` one that says there is none."""
    torch.library.register_autograd(
        f"{NAMESPACE}::{function}", backward, setup_context=setup_context, lib=LIBRARY
    )

    def refuse(ctx: object, *gradients: object) -> None:
        raise NotImplementedError(
            f"{function}: the fused kernel has no second derivative; accepted: one backward pass, "
            f"or float64 inputs, which run the reference"
        )

    torch.library.register_autograd(f"{NAMESPACE}::{function}_backward", refuse, lib=LIBRARY)


def direct(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """`function.apply` without what torch.func alone needs of it, 2.5 µs a call.

    For calls of which it is known that nothing is transformed.
    """
    apply: Callable[..., Any] = super(torch.autograd.Function, function).apply  # type: ignore[misc]
    return apply


def transformed(
    function: str, backward: Callable[..., Any], setup_context: Callable[..., Any]
) -> type[torch.autograd.Function]:
    """`function` under torch.func, whose grad does not take the operator's own derivative."""

    class Transformed(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*inputs: Any) -> Any:
            return getattr(torch.ops.cudalint, function)(*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            setup_context(ctx, inputs, output)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *gradients: Any) -> Any:
            return backward(ctx, *gradients)

    return Transformed
