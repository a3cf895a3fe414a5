"""The public function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._checks import refuse_unless_floating, refuse_unless_same_device
from cudalint.kernels._cross_entropy import checks
from cudalint.kernels._cross_entropy.function import Reduction
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._dispatch import (
    MOST_COLUMNS,
    autocast,
    is_transformed,
    kernel_runs,
    must_dispatch,
    needs_gradient,
)
from cudalint.kernels._linear_cross_entropy import reference, registration


def linear_cross_entropy(
    input: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    softcap: float | None = None,
) -> Tensor:
    """``cross_entropy(F.linear(input, weight, linear_bias), target, …)``, float32.

    The logits, the largest tensor of a language model's step, are never more than a chunk in memory
    on a GPU: they are made for a chunk of rows, and made again in the backward. Up to 2²⁷ of them,
    half a chunk, are kept for it instead. Their dtype is input's, as that of the layer's output. The
    loss is that of `cross_entropy`, float32 whatever `input` is.

    Shapes: `input` (..., H), `weight` (C, H), `target` (...), `linear_bias` (C,), any strides; the
    loss has the shape of `target` for ``reduction="none"``, else none.
    Dtypes: float32, float16, bfloat16, float64, one for `input`, `weight` and `linear_bias`; where
    autocast is on, all are cast to its dtype first. float64 runs the reference.
    Moves: the logits of a chunk, at most 512 MB in half precision or 256 rows, are all that is in
    memory beside the gradients; a weight gradient of several chunks is summed in float32.
    Gradients: to `input`, `weight` and `linear_bias`, once differentiable on a GPU, any order in
    the reference. Compiled: one opaque operator.
    Raises ValueError for dtypes, shapes and devices that do not fit, and as `cross_entropy` does.

    Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024, arXiv:2411.09009, name
    the memory that is saved; the chunks of rows are those of Hsu et al., Liger Kernel, 2024,
    arXiv:2410.10989, section 3.2.
    """
    softcap = None if softcap is None else float(softcap)
    options = Options(ignore_index, float(label_smoothing), reduction, softcap, 0.0)
    checks.refuse_bad_options("linear_cross_entropy", options)
    refuse_unless_floating("linear_cross_entropy", "input", input)
    input, weight = autocast(input), autocast(weight)
    linear_bias = None if linear_bias is None else autocast(linear_bias)
    _refuse_bad_operands(input, weight, linear_bias)
    checks.refuse_bad_target("linear_cross_entropy", target, input.shape[:-1], input)
    if not kernel_runs(input) or weight.shape[0] > MOST_COLUMNS:
        return reference.linear_cross_entropy(input, weight, target, linear_bias, options)
    operands = (input, weight, linear_bias, target)
    loss: Tensor = _route(*operands)(*operands, *options[:4])
    return loss


def _route(*operands: Tensor | None) -> Callable[..., Any]:
    if torch.compiler.is_compiling():
        return _by_operator
    if must_dispatch(*operands):
        return _transformed if is_transformed() else _by_operator
    if needs_gradient(*operands):
        return registration.LinearCrossEntropy.apply
    return _without_gradient


def _by_operator(*inputs: Any) -> Any:
    return torch.ops.cudalint.linear_cross_entropy(*inputs)[0]


def _transformed(*inputs: Any) -> Any:
    apply: Callable[..., Any] = registration.TransformedLinearCrossEntropy.apply
    return apply(*inputs)[0]


def _without_gradient(*inputs: Any) -> Any:
    return registration.run_forward(*inputs)[0]


def _refuse_bad_operands(input: Tensor, weight: Tensor, linear_bias: Tensor | None) -> None:
    function = "linear_cross_entropy"
    if input.dim() == 0 or weight.dim() != 2 or weight.shape[1] != input.shape[-1]:
        raise ValueError(
            f"{function}: input has shape {tuple(input.shape)} and weight {tuple(weight.shape)}; "
            f"accepted: (..., H) and (C, H)"
        )
    if not weight.shape[0]:
        raise ValueError(f"{function}: weight has no rows; accepted: at least one class")
    for name, tensor in (("weight", weight), ("linear_bias", linear_bias)):
        if tensor is None:
            continue
        refuse_unless_same_device(function, name, tensor, input)
        if tensor.dtype != input.dtype:
            raise ValueError(
                f"{function}: {name} has dtype {tensor.dtype}; accepted: input's, {input.dtype}"
            )
    if linear_bias is not None and linear_bias.shape != weight.shape[:1]:
        raise ValueError(
            f"{function}: linear_bias has shape {tuple(linear_bias.shape)}; accepted: "
            f"({weight.shape[0]},), one number a class"
        )
