"""linear_cross_entropy on a GPU: the error law, the memory that it takes, compilation, autocast."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import linear_cross_entropy
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._linear_cross_entropy import chunks, reference
from tests.kernels.error_law import assert_all_allowed
from tests.kernels.inputs import DTYPES, poisoned_empty

pytestmark = pytest.mark.gpu


def operands(
    rows: int, width: int, classes: int, dtype: torch.dtype, biased: bool = False
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """input, weight, bias and target; a third of the targets ignored."""
    x = torch.randn(rows, width, device="cuda").to(dtype)
    weight = (torch.randn(classes, width, device="cuda") / width**0.5).to(dtype)
    bias = torch.randn(classes, device="cuda").to(dtype) if biased else None
    target = torch.randint(0, classes, (rows,), device="cuda")
    return x, weight, bias, target.masked_fill(torch.rand(rows, device="cuda") < 0.3, -100)


def by_reference(
    inputs: tuple[Tensor, Tensor, Tensor | None, Tensor], dloss: Tensor, options: Options,
    wide: bool,
) -> list[Tensor]:  # fmt: skip
    *leaves, target = inputs
    dtype = torch.float64 if wide else leaves[0].dtype
    leaves = [None if t is None else t.detach().to(dtype).requires_grad_() for t in leaves]
    x, weight, bias = leaves
    loss = reference.linear_cross_entropy(x, weight, target, bias, options)
    needed = [t for t in leaves if t is not None]
    return [loss.detach(), *torch.autograd.grad(loss, needed, dloss.to(loss.dtype))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("chunk", "biased"), [(2**28, True), (2**20, False), (300 * 1000, True)])
def test_linear_cross_entropy(
    dtype: torch.dtype, reduction: Any, chunk: int, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", chunk)
    inputs = operands(999, 256, 1000, dtype, biased)
    leaves = [t.detach().requires_grad_() for t in inputs[:3] if t is not None]
    bias = leaves[2] if biased else None
    options = Options(-100, 0.1, reduction, 30.0, 0.0)
    before = [t.clone() for t in leaves]
    with poisoned_empty():
        loss = linear_cross_entropy(
            *leaves[:2], inputs[3], linear_bias=bias, label_smoothing=0.1, reduction=reduction,
            softcap=30.0,
        )  # fmt: skip
        dloss = torch.randn_like(loss)
        ours = [loss.detach(), *torch.autograd.grad(loss, leaves, dloss, retain_graph=True)]
        again = torch.autograd.grad(loss, leaves, dloss)
    assert all(torch.equal(a, b) for a, b in zip(ours[1:], again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(leaves, before, strict=True))
    fair = by_reference(inputs, dloss, options, wide=False)
    exact = by_reference(inputs, dloss, options, wide=True)
    assert_all_allowed([list(zip(ours, fair, exact, strict=True))])


def test_linear_cross_entropy_adds_products_in_float32() -> None:
    a = torch.randn(64, 96, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(64, 32, device="cuda", dtype=torch.bfloat16)
    total = torch.ones(96, 32, device="cuda")
    chunks.add_product(total, a, b)
    torch.testing.assert_close(total, 1.0 + a.float().t() @ b.float(), rtol=2e-2, atol=5e-2)
    print("one call adds halves in float32:", chunks._adds_in_float32(torch.bfloat16))


@pytest.mark.parametrize(("rows", "classes"), [(4096, 128256), (1024, 128256)])
def test_linear_cross_entropy_takes_a_chunk_and_the_gradients(rows: int, classes: int) -> None:
    """The second one's logits are kept until the backward."""
    width = 1024
    x, weight, _, target = operands(rows, width, classes, torch.bfloat16)
    x.requires_grad_(), weight.requires_grad_()
    linear_cross_entropy(x[:8], weight, target[:8]).backward()  # cuBLAS's own workspace
    x.grad = weight.grad = None
    chunk = chunks.CHUNK * 2
    gradients = x.numel() * 2 + weight.numel() * 4  # summed in float32
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start = torch.cuda.memory_allocated()
    linear_cross_entropy(x, weight, target).backward()
    extra = torch.cuda.max_memory_allocated() - start
    print(
        f"extra memory {extra / 1e6:.0f} MB; chunk {chunk / 1e6:.0f}, gradients {gradients / 1e6:.0f}"
    )
    assert extra <= chunk + gradients + 2**24


def test_linear_cross_entropy_is_the_pair_and_compiles() -> None:
    x, weight, _, target = operands(512, 256, 5000, torch.float32)
    leaves = (x.requires_grad_(), weight.requires_grad_())
    theirs = F.cross_entropy(F.linear(x, weight), target)
    torch._dynamo.reset()
    compiled = torch.compile(lambda: linear_cross_entropy(x * 1.0, weight, target), fullgraph=True)
    for ours in (linear_cross_entropy(x, weight, target), compiled()):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            torch.autograd.grad(ours, leaves),
            torch.autograd.grad(theirs, leaves, retain_graph=True),
            rtol=1e-3,
            atol=1e-5,
        )


@pytest.mark.parametrize("amp", [torch.float16, torch.bfloat16])
def test_linear_cross_entropy_under_autocast(amp: torch.dtype) -> None:
    for dtype in (*DTYPES, torch.float64):
        x, weight, _, target = operands(64, 128, 1000, dtype)
        leaves = (x.requires_grad_(), weight.requires_grad_())
        with torch.autocast("cuda", amp):
            theirs = F.cross_entropy(F.linear(x, weight), target)
            ours = linear_cross_entropy(x, weight, target)
        expected = torch.float64 if dtype == torch.float64 else theirs.dtype
        assert ours.dtype == expected
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=2e-2, atol=2e-2)
        found = torch.autograd.grad(ours, leaves)
        assert [g.dtype for g in found] == [dtype, dtype]


@pytest.mark.parametrize("biased", [False, True])
def test_linear_cross_entropy_opcheck(biased: bool) -> None:
    x, weight, bias, target = operands(8, 16, 33, torch.float32, biased)
    form = (-100, 0.1, "mean", None)
    operator = torch.ops.cudalint.linear_cross_entropy
    opcheck(operator, (x.requires_grad_(), weight.requires_grad_(), bias, target, *form))


def test_linear_cross_entropy_of_a_frozen_layer_and_second_derivatives() -> None:
    x, weight, _, target = operands(64, 128, 1000, torch.bfloat16)
    x.requires_grad_()
    loss = linear_cross_entropy(x, weight, target)
    (dx,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        dx.sum().backward()
    loss = linear_cross_entropy(x, weight, torch.full_like(target, -100))
    assert bool(loss.isnan())
