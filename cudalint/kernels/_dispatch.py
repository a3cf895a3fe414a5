"""Which way a call takes: the reference, the dispatcher, or straight to the launch."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor
from torch.nn import Parameter

HALF_OR_SINGLE = (torch.bfloat16, torch.float16, torch.float32)

# Columns are counted in 32 bits on the device, one block past the last included.
MOST_COLUMNS = 2**31 - 2**16

# Triton is looked for, not imported: that waits for the first launch.
TRITON_IS_HERE = importlib.util.find_spec("triton") is not None and torch.version.hip is None

_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_transform = torch._C._functorch.peek_interpreter_stack
_jit_trace = torch._C._get_tracing_state


def kernel_runs(x: Tensor) -> bool:
    """Whether a Triton kernel takes `x`: on a CUDA device, in a dtype that the kernels have."""
    return x.is_cuda and x.dtype in HALF_OR_SINGLE and TRITON_IS_HERE


def must_dispatch(*tensors: Tensor | None) -> bool:
    """Whether something must see the call: a subclass, a mode, a transform or a trace.

    The dispatcher is bypassed otherwise: it costs more than a small kernel.
    """
    for tensor in tensors:
        kind = type(tensor)
        if kind is not Tensor and kind is not Parameter and tensor is not None:
            return True
    return bool(_dispatch_modes() or _function_modes() or is_transformed() or _jit_trace())


def is_transformed() -> bool:
    """Whether torch.func is at work: grad, vmap and their like."""
    return _transform() is not None


def allows_tf32() -> bool:
    """Whether products of float32 matrices may be made in TF32.

    The older getters raise where a program has set the newer one.
    """
    matmul = torch.backends.cuda.matmul
    chosen = getattr(matmul, "fp32_precision", None)
    return bool(matmul.allow_tf32) if chosen is None else chosen == "tf32"


# As torch.compiler.assume_constant_result marks it, without importing the compiler: the getter is
# not traceable.
allows_tf32._dynamo_marked_constant = True  # type: ignore[attr-defined]


def needs_gradient(*tensors: Tensor | None) -> bool:
    if torch.is_grad_enabled():
        for tensor in tensors:  # a generator would cost more than the rest
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def autocast_float32(x: Tensor, dtype: torch.dtype | None = None) -> torch.dtype:
    """`dtype`, x's by default; float32 where CUDA's autocast has it for torch.softmax and norms."""
    dtype = x.dtype if dtype is None else dtype
    half = dtype == torch.float16 or dtype == torch.bfloat16
    return torch.float32 if half and x.is_cuda and torch.is_autocast_enabled("cuda") else dtype


def autocast(x: Tensor) -> Tensor:
    """`x` as autocast hands it to a matrix product."""
    device = x.device.type
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x
    return x.to(torch.get_autocast_dtype(device))


def result_type(a: Tensor, b: Tensor) -> torch.dtype:
    """`torch.result_type` of two floating tensors, which torch.compile cannot trace."""
    if a.dtype == b.dtype or (a.dim() and not b.dim()):
        return a.dtype
    if b.dim() and not a.dim():
        return b.dtype
    return torch.promote_types(a.dtype, b.dtype)
