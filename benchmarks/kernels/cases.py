"""What is timed: one operation on one shape, and who does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.kernels import by_hand
from cudalint.kernels import attention, rms_norm, softmax

Call = Callable[[], object]

EPS = 1e-6


@dataclass(frozen=True)
class Case:
    """One row of the table. `work` is bytes moved at least, or operations where `is_compute`."""

    operation: str
    shape: str
    mode: str
    work: int
    calls: dict[str, Call]
    is_compute: bool = False

    @property
    def is_small(self) -> bool:
        return not self.is_compute and self.work < 16e6


def cases(only: str) -> Iterator[Case]:
    """The cases whose operation contains `only`; tensors live as long as their case."""
    for make in (_rms_norms, _softmaxes, _attentions):
        if only in make.__name__:
            yield from make()


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def _liger(module: str, name: str) -> Any:
    """Liger's autograd function, or None where Liger is not installed."""
    try:
        return getattr(__import__(f"liger_kernel.ops.{module}", fromlist=[name]), name)
    except ImportError:
        return None


def _calls(
    functions: dict[str, Callable[..., Tensor]], operands: tuple[Tensor, ...], backward: bool
) -> dict[str, Call]:
    if not backward:
        return {name: partial(function, *operands) for name, function in functions.items()}
    leaves = tuple(t.detach().requires_grad_() for t in operands)
    dy = torch.randn_like(next(iter(functions.values()))(*operands))

    def both(function: Callable[..., Tensor]) -> object:
        return torch.autograd.grad(function(*leaves), leaves, dy)

    return {name: partial(both, function) for name, function in functions.items()}


RMS_NORM_SHAPES = (
    (1, 1024, 2048), (2, 1024, 2048), (4, 1024, 2048), (2, 4096, 3072), (4, 4096, 3072),
    (16, 2048, 4096), (4, 4096, 5120), (4, 8192, 8192), (1, 8192, 32768), (512, 32, 128),
)  # fmt: skip


def _rms_norms() -> Iterator[Case]:
    liger = _liger("rms_norm", "LigerRMSNormFunction")
    for shape in RMS_NORM_SHAPES:
        n = shape[-1]
        x = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
        w = torch.randn(n, device="cuda", dtype=torch.bfloat16)
        functions: dict[str, Callable[..., Tensor]] = {
            "by hand": by_hand.rms_norm,
            "torch": lambda x, w, n=n: F.rms_norm(x, (n,), w, EPS),
            "compile": _compiled(by_hand.rms_norm),
            "ours": lambda x, w: rms_norm(x, w, EPS),
        }
        if liger is not None:
            functions["Liger"] = lambda x, w: liger.apply(x, w, EPS, 0.0, "llama")
        yield from _both_modes("rms_norm", shape, functions, (x, w))


def _both_modes(
    operation: str,
    shape: tuple[int, ...],
    functions: dict[str, Callable[..., Tensor]],
    operands: tuple[Tensor, ...],
) -> Iterator[Case]:
    size = operands[0].numel() * operands[0].element_size()
    name = "×".join(map(str, shape))
    yield Case(operation, name, "forward", 2 * size, _calls(functions, operands, False))
    if 5 * size > 64e6:
        calls = _calls(functions, operands, True)
        yield Case(operation, name, "forward+backward", 5 * size, calls)


SOFTMAX_SHAPES = (
    (2048, 512), (4096, 1024), (32768, 1024), (32768, 4096), (16384, 8192), (16384, 16384),
    (8192, 32768), (8192, 65536), (4096, 131072),
)  # fmt: skip


def _softmaxes() -> Iterator[Case]:
    liger = _liger("softmax", "LigerSoftmaxFunction")
    for shape in SOFTMAX_SHAPES:
        x = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
        functions: dict[str, Callable[..., Tensor]] = {
            "by hand": by_hand.softmax,
            "torch": lambda x: torch.softmax(x, -1),
            "compile": _compiled(by_hand.softmax),
            "ours": softmax,
        }
        if liger is not None and shape[-1] <= 65536:
            functions["Liger"] = liger.apply
        yield from _both_modes("softmax", shape, functions, (x,))


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
        functions: dict[str, Callable[..., Tensor]] = {
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
            calls = _calls(functions, (q, k, v), share > 1)
            yield Case("attention", shape, mode, int(share * operations), calls, is_compute=True)


def _with_backend(
    backend: SDPBackend, options: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> Tensor:
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v, **options)
