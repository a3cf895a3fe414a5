"""The public function."""

from __future__ import annotations

from torch import Tensor

from cudalint.kernels._checks import refuse_unless_floating, refuse_unless_same_device
from cudalint.kernels._cross_entropy import checks
from cudalint.kernels._cross_entropy.function import Reduction
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._dispatch import autocast
from cudalint.kernels._linear_cross_entropy import reference


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

    The logits, the largest tensor of a language model's step, are never whole in memory on a GPU:
    they are made for a chunk of rows, and made again in the backward. Their dtype is input's, as
    that of the layer's output. The loss is that of `cross_entropy`, float32 whatever `input` is.

    Shapes: `input` (..., H), `weight` (C, H), `target` (...), `linear_bias` (C,), any strides; the
    loss has the shape of `target` for ``reduction="none"``, else none.
    Dtypes: float32, float16, bfloat16, float64, one for `input`, `weight` and `linear_bias`; where
    autocast is on, all are cast to its dtype first. float64 runs the reference.
    Gradients: to `input`, `weight` and `linear_bias`.
    Raises ValueError for dtypes, shapes and devices that do not fit, and as `cross_entropy` does.

    Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024, arXiv:2411.09009, name
    the memory that is saved; the chunks of rows are those of Hsu et al., Liger Kernel, 2024,
    arXiv:2410.10989, section 3.2.
    """
    options = Options(ignore_index, label_smoothing, reduction, softcap, 0.0)
    checks.refuse_bad_options("linear_cross_entropy", options)
    refuse_unless_floating("linear_cross_entropy", "input", input)
    input, weight = autocast(input), autocast(weight)
    linear_bias = None if linear_bias is None else autocast(linear_bias)
    _refuse_bad_operands(input, weight, linear_bias)
    checks.refuse_bad_target("linear_cross_entropy", target, input.shape[:-1], input)
    return reference.linear_cross_entropy(input, weight, target, linear_bias, options)


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
