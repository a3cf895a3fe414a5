"""attention_varlen on a GPU: torch's packed kernel, the padded form, and a graph of both."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cudalint.kernels import attention_varlen
from cudalint.kernels._varlen import native, padded
from tests.kernels.error_law import assert_allowed

pytestmark = pytest.mark.gpu

LENGTHS = ((200, 200), (1, 77), (0, 3), (64, 40), (3, 0), (33, 129))
MOST = (200, 200)


def operands(
    dtype: torch.dtype = torch.bfloat16, kv_heads: int = 4, width: int = 64
) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator("cuda").manual_seed(0)
    total_q, total_k = (sum(length) for length in zip(*LENGTHS, strict=True))
    shapes = ((total_q, 4, width), (total_k, kv_heads, width), (total_k, kv_heads, width))
    draw = [torch.randn(*shape, generator=rng, device="cuda") for shape in shapes]
    q, k, v = (t.to(dtype) for t in draw)
    return q, k, v


def offsets() -> tuple[Tensor, Tensor]:
    q, k = (
        torch.tensor([0, *lengths], device="cuda", dtype=torch.int32).cumsum(0)
        for lengths in zip(*LENGTHS, strict=True)
    )
    return q.int(), k.int()


def run(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    return attention_varlen(q, k, v, *offsets(), *MOST, enable_gqa=True, **options)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which route the calls take."""
    routes: list[str] = []
    for module in (native, padded):
        real, name = module.attention_varlen, module.__name__.rpartition(".")[2]

        def noted(*arguments: Any, real: Any = real, name: str = name) -> Tensor:
            routes.append(name)
            out: Tensor = real(*arguments)
            return out

        monkeypatch.setattr(module, "attention_varlen", noted)
    return routes


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "window": {"window": (16, 0)},
    "window both ways": {"window": (16, 5)},
    "causal window": {"window": (16, -1), "is_causal": True},
    "scale": {"scale": 0.3},
    "softcap": {"softcap": 5.0},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_error_law(name: str, kv_heads: int, dtype: torch.dtype, taken: list[str]) -> None:
    """Against float64 and float32, which take the padded form."""
    leaves = [t.requires_grad_() for t in operands(dtype, kv_heads)]
    dy, runs = torch.randn(leaves[0].shape, device="cuda").to(dtype), []
    for wide in (dtype, torch.float32, torch.float64):
        operands_ = [t.detach().to(wide).requires_grad_() for t in leaves]
        out = run(*operands_, **CASES[name])
        runs.append((out.detach(), *torch.autograd.grad(out, operands_, dy.to(wide))))
    assert taken == ["padded" if name == "softcap" else "native", "padded", "padded"]
    for i, (ours, near, exact) in enumerate(zip(*runs, strict=True)):
        assert_allowed(ours, near.to(dtype), exact, factor=3.0 if i else 2.0)


@pytest.mark.parametrize("width", [8, 40, 96, 128, 256, 60, 264])
def test_head_widths(width: int, taken: list[str]) -> None:
    leaves = [t.requires_grad_() for t in operands(width=width)]
    out = run(*leaves, is_causal=True)
    assert taken == ["padded" if width in (60, 264) else "native"]
    exact = run(*(t.double() for t in leaves), is_causal=True)
    torch.testing.assert_close(out.double(), exact, rtol=2e-2, atol=2e-2)
    dy = torch.randn_like(out)
    gradients = (
        torch.autograd.grad(out, leaves, dy),
        torch.autograd.grad(exact, leaves, dy.double()),
    )
    torch.testing.assert_close(*gradients, rtol=5e-2, atol=5e-2)


def test_views_of_a_projection() -> None:
    """q, k and v as slices of one tensor, and rows that are not dense."""
    q, k, v = torch.randn(293, 3, 4, 64, device="cuda", dtype=torch.bfloat16).unbind(1)
    bounds = torch.tensor([0, 100, 293], device="cuda")
    out = attention_varlen(q, k, v, bounds, bounds, 193, 193)
    loose = q.mT.contiguous().mT
    assert loose.stride(-1) != 1
    assert torch.equal(out, attention_varlen(loose, k, v, bounds, bounds, 193, 193))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_graph_replayed_with_other_lengths(dtype: torch.dtype) -> None:
    q, k, v = (t[:200] for t in operands(dtype))
    bounds = torch.tensor([0, 50, 200], device="cuda", dtype=torch.int32)
    other = torch.tensor([0, 130, 200], device="cuda", dtype=torch.int32)

    def step() -> Tensor:
        return attention_varlen(q, k, v, bounds, bounds, 150, 150, is_causal=True)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    before = out.clone()
    bounds.copy_(other)
    graph.replay()
    torch.testing.assert_close(out, step())
    assert not torch.equal(out, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_no_call_waits_for_the_device(dtype: torch.dtype) -> None:
    q, k, v = operands(dtype)
    bounds = offsets()
    torch.cuda.set_sync_debug_mode("error")
    try:
        attention_varlen(q, k, v, *bounds, *MOST, is_causal=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_compiled_in_one_graph() -> None:
    torch._dynamo.reset()
    leaves = [t.requires_grad_() for t in operands(kv_heads=2)]
    bounds = offsets()

    def program(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention_varlen(q, k, v, *bounds, *MOST, is_causal=True, enable_gqa=True)

    compiled = torch.compile(program, fullgraph=True)
    ours, theirs = compiled(*leaves), program(*leaves)
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=1e-2)
    dy = torch.randn_like(ours)
    gradients = (torch.autograd.grad(out, leaves, dy) for out in (ours, theirs))
    torch.testing.assert_close(*gradients, rtol=2e-2, atol=2e-2)
