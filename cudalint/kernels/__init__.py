"""Fused kernels for PyTorch programs: plain functions on tensors.

On a CUDA GPU with Triton they run the kernels of this package; elsewhere, the same formula in plain
torch. `kernel_info(name)` says which, and why. Importing the package imports no Triton.
"""

from cudalint.kernels._attention.function import attention
from cudalint.kernels._rms_norm.function import rms_norm
from cudalint.kernels._softmax.function import log_softmax, softmax
from cudalint.kernels.catalogue import KernelInfo, kernel_info, list_kernels

__all__ = [
    "KernelInfo",
    "attention",
    "kernel_info",
    "list_kernels",
    "log_softmax",
    "rms_norm",
    "softmax",
]
