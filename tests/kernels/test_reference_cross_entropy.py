"""cross_entropy and linear_cross_entropy on the CPU: the references against torch's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import cross_entropy, linear_cross_entropy
from cudalint.kernels._cross_entropy import function
from tests.kernels.inputs import DTYPES

FLOATS = (*DTYPES, torch.float64)
REDUCTIONS = ("mean", "sum", "none")


def wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def torchs(logits: Tensor, target: Tensor, **options: Any) -> Tensor:
    """F.cross_entropy with the classes in the last dimension."""
    flat = wide(logits).reshape(-1, logits.shape[-1])
    if target.is_floating_point():
        return F.cross_entropy(flat, wide(target).reshape(flat.shape), **options)
    loss = F.cross_entropy(flat, target.reshape(-1).long(), **options)
    return loss.reshape(target.shape) if options.get("reduction") == "none" else loss


def draw(dtype: torch.dtype = torch.float32, classes: int = 33) -> tuple[Tensor, Tensor]:
    """Logits (2, 5, classes), and targets of which some are ignored."""
    target = torch.randint(0, classes, (2, 5))
    target[0, 1], target[1, 4] = -100, -100
    return (torch.randn(2, 5, classes) * 3).to(dtype).requires_grad_(), target


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_torchs(
    dtype: torch.dtype, reduction: Any, smoothing: float, weighted: bool
) -> None:
    logits, target = draw(dtype)
    weight = torch.rand(33) if weighted else None
    ours = cross_entropy(
        logits, target, weight=weight, label_smoothing=smoothing, reduction=reduction
    )
    weight = None if weight is None else wide(weight.to(wide(logits).dtype))
    theirs = torchs(logits, target, weight=weight, label_smoothing=smoothing, reduction=reduction)
    assert ours.dtype == theirs.dtype == wide(logits).dtype
    torch.testing.assert_close(ours, theirs)
    dy = torch.randn_like(ours)
    (dx,), (expected,) = (torch.autograd.grad(y, logits, dy) for y in (ours, theirs))
    assert dx.dtype == dtype
    torch.testing.assert_close(dx, expected)


@pytest.mark.parametrize("integers", [torch.int64, torch.int32, torch.uint8])
def test_integer_targets_and_another_index_to_ignore(integers: torch.dtype) -> None:
    logits, target = draw()
    target = target.clamp(min=0).to(integers)
    for index in (0, -1):
        torch.testing.assert_close(
            cross_entropy(logits, target, ignore_index=index),
            torchs(logits, target, ignore_index=index),
        )


def test_shifted_slices_and_single_rows() -> None:
    logits, target = draw()
    torch.testing.assert_close(
        cross_entropy(logits[:, :-1], target[:, 1:]), torchs(logits[:, :-1], target[:, 1:])
    )
    torch.testing.assert_close(
        cross_entropy(logits[0, 0], target[0, 0]), F.cross_entropy(logits[0, 0], target[0, 0])
    )
    turned = torch.randn(2, 33, 5).transpose(1, 2)
    torch.testing.assert_close(cross_entropy(turned, target), torchs(turned, target))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nothing_to_learn_from(reduction: Any) -> None:
    logits, target = draw()
    target = torch.full_like(target, -100)
    ours = cross_entropy(logits, target, reduction=reduction)
    theirs = torchs(logits, target, reduction=reduction)
    torch.testing.assert_close(ours, theirs, equal_nan=True)
    empty = torch.ones(0, 3), torch.ones(0, dtype=torch.int64)
    torch.testing.assert_close(
        cross_entropy(*empty, reduction=reduction), torchs(*empty, reduction=reduction),
        equal_nan=True,
    )  # fmt: skip


def test_rows_that_are_ignored_have_no_part() -> None:
    logits, target = draw()
    broken = logits.detach().clone()
    broken[0, 1] = torch.nan
    broken.requires_grad_()
    loss = cross_entropy(broken, target)
    torch.testing.assert_close(loss, torchs(logits, target))
    (dx,) = torch.autograd.grad(loss, broken)
    torch.testing.assert_close(dx, torch.autograd.grad(torchs(logits, target), logits)[0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nan_and_infinities_are_torchs(smoothing: float) -> None:
    logits = torch.randn(6, 5)
    logits[0, 1] = -torch.inf
    logits[1, 2] = -torch.inf
    logits[2, 3], logits[3, 2], logits[4] = torch.nan, torch.inf, -torch.inf
    target = torch.tensor([0, 2, 0, 1, 0, 0])
    options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": "none"}
    torch.testing.assert_close(
        cross_entropy(logits, target, **options), torchs(logits, target, **options), equal_nan=True
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_probabilities(reduction: Any, smoothing: float) -> None:
    logits, _ = draw()
    target = torch.rand(2, 5, 33, requires_grad=True)
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
    ours = cross_entropy(logits, target, weight=torch.ones(33) * 2, **options)
    theirs = torchs(logits, target, weight=torch.ones(33) * 2, **options)
    torch.testing.assert_close(ours.reshape(theirs.shape), theirs)
    dy = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (logits, target), dy),
        torch.autograd.grad(theirs, (logits, target), dy.reshape(theirs.shape)),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_softcap_and_z_loss(reduction: Any) -> None:
    logits, target = draw()
    capped = 5.0 * torch.tanh(logits / 5.0)
    ours = cross_entropy(logits, target, reduction=reduction, softcap=5.0, z_loss=1e-2)
    squares = 1e-2 * capped.logsumexp(-1).square().masked_fill(target == -100, 0.0)
    theirs = torchs(capped, target, reduction="none") + squares
    if reduction != "none":
        theirs = theirs.sum() / ((target != -100).sum() if reduction == "mean" else 1)
    torch.testing.assert_close(ours, theirs)
    dy = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, logits, dy), torch.autograd.grad(theirs, logits, dy)
    )


def test_gradients_in_float64() -> None:
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, -100, 4])
    for reduction in REDUCTIONS:
        call = lambda x: cross_entropy(  # noqa: E731
            x, target, reduction=reduction, softcap=3.0, z_loss=0.1, label_smoothing=0.2  # noqa: B023
        )  # fmt: skip
        assert torch.autograd.gradcheck(call, logits)
        assert torch.autograd.gradgradcheck(call, logits)
    x, w = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    b = torch.randn(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x, w, b: linear_cross_entropy(x, w, target, linear_bias=b, softcap=3.0),
        [t.requires_grad_() for t in (x, w, b)],
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("biased", [False, True])
def test_linear_cross_entropy_is_the_pair(dtype: torch.dtype, reduction: Any, biased: bool) -> None:
    x, w = torch.randn(2, 5, 16).to(dtype), torch.randn(33, 16).to(dtype)
    b = torch.randn(33).to(dtype) if biased else None
    leaves = [t.requires_grad_() for t in (x, w, b) if t is not None]
    _, target = draw()
    options: dict[str, Any] = {"label_smoothing": 0.1, "reduction": reduction}
    ours = linear_cross_entropy(x, w, target, linear_bias=b, **options)
    theirs = torchs(F.linear(x, w, b), target, **options)
    assert ours.dtype == theirs.dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(ours, theirs, rtol=4 * eps, atol=8 * eps)
    dy = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, leaves, dy), torch.autograd.grad(theirs, leaves, dy),
        rtol=8 * eps, atol=16 * eps,
    )  # fmt: skip


def test_linear_cross_entropy_is_torchs_own() -> None:
    if not hasattr(F, "linear_cross_entropy"):
        pytest.skip("torch before 2.13 has none")
    x, w, b = torch.randn(10, 16), torch.randn(33, 16), torch.randn(33)
    target = draw()[1].reshape(-1).clamp(min=0)
    for options in ({}, {"reduction": "sum"}, {"label_smoothing": 0.1, "ignore_index": 3}):
        torch.testing.assert_close(
            linear_cross_entropy(x, w, target, linear_bias=b, **options),  # type: ignore[arg-type]
            F.linear_cross_entropy(x, w, target, linear_bias=b, **options),
        )


def test_dtypes_under_autocast() -> None:
    target = torch.tensor([1, 2, 3])
    for dtype, amp in itertools.product(FLOATS, (torch.float16, torch.bfloat16)):
        x, w = torch.randn(3, 8).to(dtype), torch.randn(9, 8).to(dtype)
        loss = torch.float64 if dtype == torch.float64 else torch.float32
        with torch.autocast("cpu", amp):
            assert cross_entropy(x, target).dtype == loss
            ours = linear_cross_entropy(x, w, target)
            assert ours.dtype == loss
            rounded = x if dtype == torch.float64 else x.to(amp)
            by_hand = cross_entropy(F.linear(rounded, w.to(rounded.dtype)), target)
            torch.testing.assert_close(ours, by_hand, rtol=1e-2, atol=1e-2)


def test_vmap_and_compiled_in_one_graph() -> None:
    x, w, target = torch.randn(4, 3, 8), torch.randn(9, 8), torch.randint(0, 8, (4, 3))

    def program(x: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(x, target, reduction="none") * linear_cross_entropy(x, w, target)

    loop = torch.stack([program(*pair) for pair in zip(x, target, strict=True)])
    torch.testing.assert_close(torch.func.vmap(program)(x, target), loop)
    torch._dynamo.reset()
    for dynamic in (False, True):
        compiled = torch.compile(program, fullgraph=True, dynamic=dynamic, backend="aot_eager")
        torch.testing.assert_close(compiled(x[0], target[0]), loop[0])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_compiled_the_loss_is_torchs_up_to_a_size(
    reduction: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(2, 3, 8, requires_grad=True)
    target = torch.tensor([[0, -100, 6], [1, 2, -100]])
    form = {"reduction": reduction, "label_smoothing": 0.1, "softcap": 4.0}
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        seen[:] = [str(node.target) for node in graph.graph.nodes]
        return graph.forward

    expected = cross_entropy(x, target, **form)
    monkeypatch.setattr(function, "_kernel_takes", lambda *operands: True)
    for fewest, opaque in ((2**30, False), (0, True)):
        monkeypatch.setattr(function, "FEWEST_BYTES", fewest)
        torch._dynamo.reset()
        program = torch.compile(lambda: cross_entropy(x, target, **form), backend=backend)
        ours = program()
        assert any("cudalint" in name for name in seen) == opaque
        torch.testing.assert_close(ours, expected)
        dy = torch.randn_like(ours)
        gradients = [torch.autograd.grad(y, x, dy, retain_graph=True) for y in (ours, expected)]
        torch.testing.assert_close(*gradients)


X, T = torch.ones(2, 4), torch.zeros(2, dtype=torch.int64)

BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: cross_entropy(X.int(), T), "logits has dtype torch.int32"),
    (lambda: cross_entropy(X[:, :0], T), r"logits has shape \(2, 0\); accepted: at least one"),
    (lambda: cross_entropy(X, T.bool()), "target has dtype torch.bool; accepted: an integer"),
    (lambda: cross_entropy(X, T.float()), "target has dtype torch.float32"),
    (lambda: cross_entropy(X, T[:1]), r"target has shape \(1,\); accepted: \(2,\)"),
    (lambda: cross_entropy(X, T.to("meta")), "target is on meta"),
    (lambda: cross_entropy(X, X, ignore_index=1), "ignore_index is 1"),
    (lambda: cross_entropy(X, T, weight=torch.ones(3)), r"weight has shape \(3,\)"),
    (lambda: cross_entropy(X, T, weight=torch.ones(4).int()), "weight has dtype torch.int32"),
    (lambda: cross_entropy(X, T, reduction="avg"), "reduction is 'avg'; accepted: 'mean'"),  # type: ignore[arg-type]
    (lambda: cross_entropy(X, T, label_smoothing=1.5), "label_smoothing is 1.5; accepted: 0 to 1"),
    (lambda: cross_entropy(X, T, softcap=0.0), "softcap is 0.0; accepted: None or a positive"),
    (lambda: linear_cross_entropy(X.int(), X, T), "input has dtype torch.int32"),
    (lambda: linear_cross_entropy(X, X[:, :3], T), r"weight \(2, 3\); accepted: \(..., H\) and"),
    (lambda: linear_cross_entropy(X, X[:0], T), "weight has no rows"),
    (lambda: linear_cross_entropy(X, X.half(), T), "weight has dtype torch.float16; accepted: inp"),
    (lambda: linear_cross_entropy(X, X, T, linear_bias=X[0]), "linear_bias has shape"),
    (lambda: linear_cross_entropy(X, X, X), "linear_cross_entropy: target has dtype"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_refusals_say_what_is_accepted(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
