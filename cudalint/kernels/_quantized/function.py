"""The public functions int8_linear and int4_linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from cudalint.kernels._blocks import remembered
from cudalint.kernels._checks import refuse_unless_floating, refuse_unless_same_device
from cudalint.kernels._dispatch import is_transformed, must_dispatch, needs_gradient
from cudalint.kernels._quantized.layouts import INT4_LAYOUTS
from cudalint.kernels._quantized.reference import Weight, features, linear
from cudalint.kernels._quantized.registration import is_new_enough, kernel_takes, run_kernel


def int8_linear(x: Tensor, qweight: Tensor, scales: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer with an int8 weight: ``y = x · (qweight · scales)ᵀ + bias``.

    Shapes: `x` (..., K), any strides; `qweight` (N, K) int8; `scales` (N,), one for each output, or
    (N, G), one for each of G groups of K / G inputs, K a multiple of G; `bias` (N,) or None; result
    (..., N). `quantize_int8` makes the weight.
    Dtypes: `x` float32, float16, bfloat16 or float64; scales and bias floating. The result has x's
    dtype; under autocast `x` is cast to autocast's first.
    Moves: the packed weight once, for up to 64 rows of x; for more, and in the backward, it is read,
    written expanded, and read again, in float32 and compiled once for both.
    Gradients: to `x` and `bias`, on a GPU once differentiable; scales are constants.
    Runs: for up to 64 rows of x a kernel that expands in registers, sums in float32, and adds shares
    of the inputs in a fixed order; scales then do not round the weight. Else the reference, in
    float32 on the CPU and by the product of x's dtype on a GPU; float64 in float64; also where x is
    float32 and wants a gradient. Compiled: the kernel as one opaque operator where x wants no
    gradient, else the reference, inline.
    Raises ValueError for dtypes, shapes and devices that do not fit, and for scales that require a
    gradient.

    Dettmers et al., LLM.int8(), 2022, arXiv:2208.07339, the weights' half of it.
    """
    size = _remembered_size(
        (x, qweight, scales, None, bias),
        ("int8", 0),
        lambda: _checked_int8(x, qweight, scales, bias),
    )
    return _linear(x, Weight(qweight, scales, None, None, size, "int8"), bias)


def int4_linear(
    x: Tensor,
    qweight: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    group_size: int,
    bias: Tensor | None = None,
    *,
    layout: Literal["gptq", "gptq_v2", "awq"] = "gptq",
    group_index: Tensor | None = None,
) -> Tensor:
    """A linear layer with an int4 weight: ``weight[k, n] = scales[g, n] · (q[k, n] − zeros[g, n])``.

    Layouts, eight integers to an int32, G = K / group_size groups:

    - ``"gptq"``: `qweight` (K/8, N), rows packed; `zeros` (G, N/8), stored less one, as AutoGPTQ
      writes checkpoints; ``"gptq_v2"``: the same, zeros as they are.
    - ``"awq"``: `qweight` (K, N/8) and `zeros` (G, N/8), columns packed in AutoAWQ's order.

    Shapes: `x` (..., K), any strides; `scales` (G, N); `zeros` None for 8 everywhere; `group_size` −1
    for one group; `group_index` (K,) where groups are not in order (GPTQ's act-order, `g_idx`);
    `bias` (N,) or None; result (..., N). `quantize_int4` makes the weight.
    Dtypes, bytes moved, gradients and the behaviour under torch.compile as of `int8_linear`; float64
    in float64.
    Raises ValueError for dtypes, shapes and devices that do not fit, an unknown `layout`, and for
    scales that require a gradient.

    Frantar et al., GPTQ, 2022, arXiv:2210.17323; Lin et al., AWQ, 2023, arXiv:2306.00978.
    """
    weight = Weight(qweight, scales, zeros, group_index, group_size, layout)
    if group_index is None:
        size = _remembered_size(
            (x, qweight, scales, zeros, bias),
            (layout, group_size),
            lambda: _checked_int4(x, weight, bias),
        )
    else:
        size = _checked_int4(x, weight, bias)
    return _linear(x, weight._replace(group_size=size), bias)


# The sizes of groups of weights that were found to fit, by what their refusal depends on.
_sizes: dict[tuple[object, ...], int] = {}


def _remembered_size(
    tensors: tuple[Tensor | None, ...], form: tuple[object, ...], check: Callable[[], int]
) -> int:
    """What `check` gives, which takes longer than a small product."""
    if torch.compiler.is_compiling():
        return check()
    key = (
        form,
        *[t if t is None else (t.shape, t.dtype, t.device, t.requires_grad) for t in tensors],
    )
    try:
        size = _sizes.get(key)
    except TypeError:  # symbolic sizes have no hash, and a layout may be just anything
        return check()
    if size is None:
        size = remembered(_sizes)[key] = check()
    return size


def _checked_int8(x: Tensor, qweight: Tensor, scales: Tensor, bias: Tensor | None) -> int:
    """The size of a group."""
    _refuse_unless(qweight.dtype == torch.int8, "int8_linear", "qweight has dtype",
                   qweight.dtype, "torch.int8")  # fmt: skip
    _refuse_unless(qweight.dim() == 2, "int8_linear", "qweight has shape",
                   tuple(qweight.shape), "(N, K)")  # fmt: skip
    outputs, inputs = qweight.shape
    groups = scales.shape[1] if scales.dim() == 2 else 1
    fits = scales.dim() in (1, 2) and scales.shape[0] == outputs and groups > 0
    _refuse_unless(fits and inputs % groups == 0, "int8_linear", "scales has shape",
                   tuple(scales.shape), f"({outputs},) or ({outputs}, a divisor of {inputs})")  # fmt: skip
    weight = Weight(qweight, scales, None, None, inputs // groups, "int8")
    _refuse_bad_operands("int8_linear", x, weight, bias)
    return weight.group_size


def _checked_int4(x: Tensor, weight: Weight, bias: Tensor | None) -> int:
    """The size of a group."""
    _refuse_unless(weight.layout in INT4_LAYOUTS, "int4_linear", "layout is", repr(weight.layout),
                   "'gptq', 'gptq_v2' or 'awq'")  # fmt: skip
    for name, packed in (("qweight", weight.qweight), ("zeros", weight.zeros)):
        if packed is not None:
            _refuse_unless(packed.dtype == torch.int32 and packed.dim() == 2, "int4_linear",
                           f"{name} has dtype and shape", (packed.dtype, tuple(packed.shape)),
                           "torch.int32 and two dimensions")  # fmt: skip
    outputs, inputs = features(weight)
    size = inputs if weight.group_size == -1 else weight.group_size
    weight = weight._replace(group_size=size)
    _refuse_bad_groups(weight, outputs, inputs)
    _refuse_bad_operands("int4_linear", x, weight, bias)
    return size


def _refuse_bad_groups(weight: Weight, outputs: int, inputs: int) -> None:
    size, scales, zeros = weight.group_size, weight.scales, weight.zeros
    _refuse_unless(size > 0 and inputs % size == 0, "int4_linear", "group_size is", size,
                   f"-1 or a divisor of {inputs}, the inputs")  # fmt: skip
    groups = inputs // size
    _refuse_unless(scales.shape == (groups, outputs), "int4_linear", "scales has shape",
                   tuple(scales.shape), (groups, outputs))  # fmt: skip
    if zeros is not None:
        packed = (groups, outputs // 8)
        _refuse_unless(zeros.shape == packed, "int4_linear", "zeros has shape",
                       tuple(zeros.shape), packed)  # fmt: skip
    index = weight.group_index
    if index is not None:
        integers = index.dtype in (torch.int32, torch.int64) and index.shape == (inputs,)
        _refuse_unless(integers, "int4_linear", "group_index has dtype and shape",
                       (index.dtype, tuple(index.shape)), f"int32 or int64 and ({inputs},)")  # fmt: skip


def _refuse_bad_operands(function: str, x: Tensor, weight: Weight, bias: Tensor | None) -> None:
    outputs, inputs = features(weight)
    refuse_unless_floating(function, "x", x)
    refuse_unless_floating(function, "scales", weight.scales)
    _refuse_unless(x.dim() > 0 and x.shape[-1] == inputs, function, "x has shape",
                   tuple(x.shape), f"(..., {inputs})")  # fmt: skip
    _refuse_unless(not weight.scales.requires_grad, function, "scales requires a gradient", True,
                   "constants")  # fmt: skip
    named = {**weight._asdict(), "bias": bias}
    for name, tensor in named.items():
        if isinstance(tensor, Tensor):
            refuse_unless_same_device(function, name, tensor, x)
    if bias is not None:
        refuse_unless_floating(function, "bias", bias)
        _refuse_unless(bias.shape == (outputs,), function, "bias has shape",
                       tuple(bias.shape), (outputs,))  # fmt: skip


def _linear(x: Tensor, weight: Weight, bias: Tensor | None) -> Tensor:
    x = _autocast(x)
    return _route(x, bias, weight)(x, bias, *weight)


def _route(x: Tensor, bias: Tensor | None, weight: Weight) -> Callable[..., Tensor]:
    """The reference where the expanded weight is needed twice: it is then kept, as by hand.

    In float32, and compiled, what the kernel saves in the forward is less than a second expansion.
    """
    operator: Callable[..., Tensor] = torch.ops.cudalint.quantized_linear
    if not kernel_takes(x, bias, weight):
        return _by_reference
    if torch.compiler.is_compiling():
        return _by_reference if needs_gradient(x) else operator
    if is_transformed() or (x.dtype == torch.float32 and needs_gradient(x)):
        return _by_reference
    if must_dispatch(x, bias, *weight[:4]) or needs_gradient(x, bias):
        return operator
    return run_kernel if is_new_enough(x) else _by_reference


def _by_reference(x: Tensor, bias: Tensor | None, *weight: Any) -> Tensor:
    return linear(x, Weight(*weight), bias)


def _autocast(x: Tensor) -> Tensor:
    """As of every matrix product, float64 left alone."""
    kind = x.device.type
    if x.dtype == torch.float64 or kind == "meta" or not torch.is_autocast_enabled(kind):
        return x
    return x.to(torch.get_autocast_dtype(kind))


def _refuse_unless(holds: bool, function: str, what: str, value: object, accepted: object) -> None:
    if not holds:
        raise ValueError(f"{function}: {what} {value}; accepted: {accepted}")
