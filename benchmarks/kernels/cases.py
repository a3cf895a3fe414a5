"""What is timed: one operation on one shape, and who does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.kernels import by_hand
from benchmarks.kernels.case import Case, Function, both_modes, calls, compiled, liger, name_of
from benchmarks.kernels.decoding import decodings, packed_attentions
from benchmarks.kernels.elementwise import glus, ropes
from benchmarks.kernels.losses import cross_entropies, linear_cross_entropies
from benchmarks.kernels.norms import adaptive_norms, add_norms, layer_norms
from benchmarks.kernels.own_attention import own_attentions
from benchmarks.kernels.quantized import quantized_linears
from cudalint.kernels import attention, rms_norm, softmax

EPS = 1e-6


RMS_NORM_SHAPES = (
    (1, 1024, 2048), (2, 1024, 2048), (4, 1024, 2048), (2, 4096, 3072), (4, 4096, 3072),
    (16, 2048, 4096), (4, 4096, 5120), (4, 8192, 8192), (1, 8192, 32768), (512, 32, 128),
)  # fmt: skip


def _rms_norms() -> Iterator[Case]:
    peer = liger("rms_norm", "LigerRMSNormFunction")
    for shape in RMS_NORM_SHAPES:
        n = shape[-1]
        x = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
        w = torch.randn(n, device="cuda", dtype=torch.bfloat16)
        functions: dict[str, Function] = {
            "by hand": by_hand.rms_norm,
            "torch": lambda x, w, n=n: F.rms_norm(x, (n,), w, EPS),
            "compile": compiled(by_hand.rms_norm),
            "ours": lambda x, w: rms_norm(x, w, EPS),
        }
        if peer is not None:
            functions["Liger"] = lambda x, w: peer.apply(x, w, EPS, 0.0, "llama")
        size = x.numel() * x.element_size()
        yield from both_modes("rms_norm", name_of(shape), functions, (x, w), (2 * size, 5 * size))


SOFTMAX_SHAPES = (
    (2048, 512), (4096, 1024), (32768, 1024), (32768, 4096), (16384, 8192), (16384, 16384),
    (8192, 32768), (8192, 65536), (4096, 131072),
)  # fmt: skip


def _softmaxes() -> Iterator[Case]:
    peer = liger("softmax", "LigerSoftmaxFunction")
    for shape in SOFTMAX_SHAPES:
        x = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
        functions: dict[str, Function] = {
            "by hand": by_hand.softmax,
            "torch": lambda x: torch.softmax(x, -1),
            "compile": compiled(by_hand.softmax),
            "ours": softmax,
        }
        if peer is not None and shape[-1] <= 65536:
            functions["Liger"] = peer.apply
        size = x.numel() * x.element_size()
        yield from both_modes("softmax", name_of(shape), functions, (x,), (2 * size, 5 * size))


# (batch, query heads, key heads, queries, keys, width, causal)
ATTENTION_SHAPES = (
    (4, 16, 16, 4096, 4096, 128, True),
    (4, 16, 16, 4096, 4096, 128, False),
    (2, 32, 8, 4096, 4096, 128, True),
    (8, 16, 16, 1024, 1024, 64, True),
)
BACKENDS = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


def _attentions() -> Iterator[Case]:
    for batch, heads, kv_heads, queries, keys, width, causal in ATTENTION_SHAPES:
        q, k, v = (
            torch.randn(batch, h, length, width, device="cuda", dtype=torch.bfloat16)
            for h, length in ((heads, queries), (kv_heads, keys), (kv_heads, keys))
        )
        options = {"is_causal": causal, "enable_gqa": heads != kv_heads}
        functions: dict[str, Function] = {
            "by hand": partial(by_hand.attention, causal=causal),
            "torch": partial(F.scaled_dot_product_attention, **options),
            "ours": partial(attention, **options),
        }
        functions |= {
            name: partial(_with_backend, backend, options) for name, backend in BACKENDS.items()
        }
        operations = 4 * batch * heads * queries * keys * width // (2 if causal else 1)
        shape = f"{batch}×{heads}/{kv_heads}×{queries}×{width}{' causal' if causal else ''}"
        for mode, share in (("forward", 1.0), ("forward+backward", 3.5)):
            made = calls(functions, (q, k, v), share > 1)
            yield Case("attention", shape, mode, int(share * operations), made, is_compute=True)


def _with_backend(
    backend: SDPBackend, options: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> Tensor:
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v, **options)


OPERATIONS: dict[str, Callable[[], Iterator[Case]]] = {
    "rms_norm": _rms_norms,
    "layer_norm": layer_norms,
    "add_norm": add_norms,
    "adaptive_norm": adaptive_norms,
    "softmax": _softmaxes,
    "attention": _attentions,
    "own_attention": own_attentions,
    "attention_varlen": packed_attentions,
    "decode": decodings,
    "glu": glus,
    "rope": ropes,
    "cross_entropy": cross_entropies,
    "linear_cross_entropy": linear_cross_entropies,
    "quantized_linear": quantized_linears,
}


def cases(only: list[str]) -> Iterator[Case]:
    """The cases of the operations `only`, of all where it is empty; tensors live as their case."""
    for name, make in OPERATIONS.items():
        if not only or name in only:
            yield from make()
