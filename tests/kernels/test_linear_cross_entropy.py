"""The chunks of linear_cross_entropy on the CPU: what a GPU runs, but for who makes the products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import linear_cross_entropy
from cudalint.kernels._linear_cross_entropy import chunks
from cudalint.kernels._linear_cross_entropy.registration import (
    LinearCrossEntropy,
    TransformedLinearCrossEntropy,
)

OPS = torch.ops.cudalint
WAYS: dict[str, Callable[..., Tensor]] = {
    "round": lambda *inputs: LinearCrossEntropy.apply(*inputs),
    "operator": lambda *inputs: OPS.linear_cross_entropy(*inputs)[0],
    "transformed": lambda *inputs: TransformedLinearCrossEntropy.apply(*inputs)[0],
}
REDUCTIONS = ("mean", "sum", "none")


@pytest.fixture(autouse=True, params=[16, 9, 3, 1], ids=["kept", "one chunk", "chunks", "rows"])
def chunks_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 7 * request.param)
    monkeypatch.setattr(chunks, "SLICE", 3)


def operands(dtype: torch.dtype = torch.float32, biased: bool = True) -> list[Any]:
    """input (2, 4, 5), weight (7, 5), bias and target; two rows ignored."""
    target = torch.tensor([[0, -100, 6, 3], [1, 2, -100, 6]])
    x, weight, bias = torch.randn(2, 4, 5), torch.randn(7, 5), torch.randn(7)
    leaves = [t.to(dtype).requires_grad_() for t in (x, weight, bias)]
    return [*leaves[:2], leaves[2] if biased else None, target]


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
def test_chunks_are_the_reference(
    way: str, reduction: Any, dtype: torch.dtype, biased: bool
) -> None:
    x, weight, bias, target = operands(dtype, biased)
    ours = WAYS[way](x, weight, bias, target, -100, 0.1, reduction, 5.0)
    fair = linear_cross_entropy(
        x, weight, target, linear_bias=bias, label_smoothing=0.1, reduction=reduction, softcap=5.0
    )
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0.1, "atol": 0.03}
    assert ours.dtype == fair.dtype
    torch.testing.assert_close(ours, fair, **close)
    dy, leaves = torch.randn_like(ours), [t for t in (x, weight, bias) if t is not None]
    expected = torch.autograd.grad(fair, leaves, dy)
    found = torch.autograd.grad(ours, leaves, dy, retain_graph=True)
    torch.testing.assert_close(found, expected, **close)
    for leaf, gradient in zip(leaves, found, strict=True):
        (alone,) = torch.autograd.grad(ours, leaf, dy, retain_graph=True)
        torch.testing.assert_close(alone, gradient)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_opcheck_linear_cross_entropy(reduction: str) -> None:
    x, weight, bias, target = operands()
    form = (-100, 0.1, reduction, 5.0)
    opcheck(OPS.linear_cross_entropy, (x, weight, bias, target, *form))
    opcheck(OPS.linear_cross_entropy, (x, weight.detach(), None, target, *form))
    x, weight, bias = x.detach(), weight.detach(), bias.detach()
    loss, *kept = OPS.linear_cross_entropy(x, weight, bias, target, *form)
    for needs in ([True, True, True], [True, False, False], [False, True, False]):
        opcheck(
            OPS.linear_cross_entropy_backward, (loss, x, weight, bias, target, *kept, needs, *form)
        )


def test_function_transforms_and_double_backward() -> None:
    x, weight, bias, target = (t.detach() for t in operands())
    form = (-100, 0.0, "mean", None)

    def ours(x: Tensor, target: Tensor) -> Tensor:
        return WAYS["transformed"](x, weight, bias, target, *form)

    def fair(x: Tensor, target: Tensor) -> Tensor:
        return linear_cross_entropy(x, weight, target, linear_bias=bias)

    for transform in (torch.func.vmap, lambda f: torch.func.vmap(torch.func.grad(f))):
        torch.testing.assert_close(transform(ours)(x, target), transform(fair)(x, target))
    leaf = x.requires_grad_()
    loss = WAYS["round"](leaf, weight, bias, target, *form)
    (dx,) = torch.autograd.grad(loss, leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match="accepted: one backward pass"):
        dx.sum().backward()


def test_logits_of_half_a_chunk_are_kept_for_the_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias, target = operands()
    form = (-100, 0.0, "mean", None)
    for chunk, shape in ((2 * 56, (8, 7)), (2 * 56 - 1, (0,))):
        monkeypatch.setattr(chunks, "CHUNK", chunk)
        loss, _, _, logits = OPS.linear_cross_entropy(x, weight, bias, target, *form)
        assert logits.shape == shape and not logits.requires_grad
        torch.autograd.grad(loss, x)  # which does not write to them
        if logits.numel():
            torch.testing.assert_close(logits, (x @ weight.t() + bias).view(8, 7))


def test_no_rows_and_nothing_to_learn_from() -> None:
    x, weight, bias, target = operands()
    none = torch.full_like(target, -100)
    loss = WAYS["round"](x, weight, bias, none, -100, 0.0, "mean", None)
    assert bool(loss.isnan())
    empty = WAYS["round"](x[:0], weight, bias, target[:0], -100, 0.0, "sum", None)
    dx, dweight, _ = torch.autograd.grad(empty, (x, weight, bias))
    assert float(empty) == 0.0 and not dx.any() and not dweight.any()
