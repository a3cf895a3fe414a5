"""Fused kernels for PyTorch programs: plain functions on tensors.

On a CUDA GPU with Triton they run the kernels of this package; elsewhere, the same formula in plain
torch. `kernel_info(name)` says which, and why. Importing the package imports no Triton.
"""

from cudalint.kernels._attention.function import attention
from cudalint.kernels._cross_entropy.function import cross_entropy
from cudalint.kernels._decode.caches import KVCache, PagedKVCache
from cudalint.kernels._decode.function import decode_attention, paged_decode_attention
from cudalint.kernels._glu.function import geglu, geglu_packed, swiglu, swiglu_packed
from cudalint.kernels._graphs.capture import GraphPool
from cudalint.kernels._graphs.function import graphed
from cudalint.kernels._linear_cross_entropy.function import linear_cross_entropy
from cudalint.kernels._norms.adaptive import (
    ada_layer_norm,
    ada_rms_norm,
    gated_residual,
    gated_residual_ada_layer_norm,
)
from cudalint.kernels._norms.add_norm import add_layer_norm, add_rms_norm
from cudalint.kernels._norms.layer_norm import layer_norm
from cudalint.kernels._patch.function import Patched, patch
from cudalint.kernels._quantized.function import int4_linear, int8_linear
from cudalint.kernels._quantized.packers import quantize_int4, quantize_int8
from cudalint.kernels._rms_norm.function import rms_norm
from cudalint.kernels._rope.function import apply_rope, rope
from cudalint.kernels._softmax.function import log_softmax, softmax
from cudalint.kernels._varlen.function import attention_varlen
from cudalint.kernels.catalogue import KernelInfo, kernel_info, list_kernels

__all__ = [
    "GraphPool",
    "KVCache",
    "KernelInfo",
    "PagedKVCache",
    "Patched",
    "ada_layer_norm",
    "ada_rms_norm",
    "add_layer_norm",
    "add_rms_norm",
    "apply_rope",
    "attention",
    "attention_varlen",
    "cross_entropy",
    "decode_attention",
    "gated_residual",
    "gated_residual_ada_layer_norm",
    "geglu",
    "geglu_packed",
    "graphed",
    "int4_linear",
    "int8_linear",
    "kernel_info",
    "layer_norm",
    "linear_cross_entropy",
    "list_kernels",
    "log_softmax",
    "paged_decode_attention",
    "patch",
    "quantize_int4",
    "quantize_int8",
    "rms_norm",
    "rope",
    "softmax",
    "swiglu",
    "swiglu_packed",
]
