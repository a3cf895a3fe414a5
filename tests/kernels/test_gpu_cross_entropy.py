"""Cross-entropy on a GPU: the error law, what is ignored, reductions, layouts, operators."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import cross_entropy
from cudalint.kernels._cross_entropy import reference
from cudalint.kernels._cross_entropy.reference import Options
from tests.kernels.error_law import assert_all_allowed, draws
from tests.kernels.inputs import DTYPES, Case, covering_cases, draw, poisoned_empty

pytestmark = pytest.mark.gpu

REDUCTIONS = ("mean", "sum", "none")
CHOICES: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"softcap": 5.0},
    {"z_loss": 1e-2},
    {"label_smoothing": 0.2, "softcap": 30.0, "z_loss": 1e-3, "reduction": "none"},
    {"reduction": "sum", "ignore_index": 0},
]


def targets(logits: Tensor, seed: int = 0) -> Tensor:
    """Classes at random, about a third of them ignored."""
    rng = torch.Generator("cuda").manual_seed(seed)
    shape = logits.shape[:-1]
    target = torch.randint(0, logits.shape[-1], shape, generator=rng, device="cuda")
    ignored = torch.rand(shape, generator=rng, device="cuda") < 0.3
    return target.masked_fill(ignored, -100)


def by_reference(
    logits: Tensor, target: Tensor, dloss: Tensor, choice: dict[str, Any], wide: torch.dtype
) -> tuple[Tensor, Tensor]:
    defaults = {"ignore_index": -100, "label_smoothing": 0.0, "reduction": "mean"}
    options = Options(**(defaults | {"softcap": None, "z_loss": 0.0} | choice))
    leaf = logits.detach().to(wide).requires_grad_()
    loss = reference.cross_entropy(leaf, target, None, options)
    return loss.detach(), torch.autograd.grad(loss, leaf, dloss.to(wide))[0]


def _bytes(x: Tensor) -> Tensor:
    """As bytes, in which NaN equals NaN; a strided last dimension has none of its own."""
    return x.contiguous().view(torch.uint8)


def check(
    logits: Tensor, target: Tensor, choice: dict[str, Any]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(ours, fair, exact) of the loss and of the gradient."""
    leaf, before = logits.detach().requires_grad_(), (logits.clone(), target.clone())
    with poisoned_empty():
        loss = cross_entropy(leaf, target, **choice)
        dloss = torch.randn_like(loss)
        (dx,) = torch.autograd.grad(loss, leaf, dloss, retain_graph=True)
        (again,) = torch.autograd.grad(loss, leaf, dloss)
    assert loss.dtype == torch.float32
    assert torch.equal(_bytes(dx), _bytes(again))
    assert torch.equal(_bytes(logits), _bytes(before[0]))
    assert torch.equal(target, before[1])
    fair, fair_dx = by_reference(logits, target, dloss, choice, torch.float32)
    exact, exact_dx = by_reference(logits, target, dloss, choice, torch.float64)
    return [(loss.detach(), fair, exact), (dx, fair_dx.to(dx.dtype), exact_dx)]


@pytest.mark.parametrize(
    ("case", "choice"),
    [(case, CHOICES[i % 6]) for i, case in enumerate(covering_cases(4))],
    ids=str,
)
def test_cross_entropy(case: Case, choice: dict[str, Any]) -> None:
    rows, cols, dtype, layout = case
    options = {"layout": layout, "device": "cuda", "scale": 2.0}
    results = []
    for seed in draws(rows, cols):
        logits = draw(rows, cols, dtype, seed=seed, **options)
        target = targets(logits, seed)
        if choice.get("ignore_index") == 0:
            target = target.clamp(min=0)
        results.append([r for r in check(logits, target, choice) if r[0].numel()])
    assert_all_allowed(results)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [123, 65537])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_logits_far_from_zero(
    dtype: torch.dtype, cols: int, smoothing: float
) -> None:
    logits = draw(33, cols, dtype, device="cuda", offset=1000.0)
    choice = {"label_smoothing": smoothing, "reduction": "none"}
    assert_all_allowed([check(logits, targets(logits), choice)])


@pytest.mark.parametrize("cols", [33, 4096, 65537])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_nan_and_infinities_is_torchs(cols: int, smoothing: float) -> None:
    logits = draw(7, cols, torch.float32, device="cuda")
    logits[0], logits[1, 1:], logits[2, 5] = -torch.inf, -torch.inf, torch.nan
    logits[3, 7], logits[4, 3], logits[5] = torch.inf, -torch.inf, torch.nan
    target = torch.tensor([0, 0, 1, 2, 3, -100, 4], device="cuda")
    options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": "none"}
    ours, theirs = (
        cross_entropy(logits, target, **options),
        F.cross_entropy(logits, target, **options),
    )
    torch.testing.assert_close(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy_is_torchs(reduction: str, dtype: torch.dtype) -> None:
    logits = draw(200, 32000, dtype, device="cuda", scale=3.0).requires_grad_()
    target = targets(logits)
    ours = cross_entropy(logits, target, reduction=reduction)
    theirs = F.cross_entropy(logits.float(), target, reduction=reduction)
    torch.testing.assert_close(ours, theirs)
    dy = torch.randn_like(ours)
    (dx,), (expected,) = (torch.autograd.grad(y, logits, dy) for y in (ours, theirs))
    torch.testing.assert_close(dx, expected)


def test_cross_entropy_of_shifted_slices_and_many_rows() -> None:
    logits = torch.randn(4, 65, 1000, device="cuda", dtype=torch.bfloat16)
    target = torch.randint(0, 1000, (4, 65), device="cuda")
    ours = cross_entropy(logits[:, :-1], target[:, 1:])
    theirs = F.cross_entropy(logits[:, :-1].reshape(-1, 1000).float(), target[:, 1:].reshape(-1))
    torch.testing.assert_close(ours, theirs)
    many = torch.randn(100_000, 10, device="cuda")
    classes = torch.randint(0, 10, (100_000,), device="cuda")
    torch.testing.assert_close(cross_entropy(many, classes), F.cross_entropy(many, classes))
    with torch.no_grad():
        none = torch.full_like(classes, -100)
        assert bool(cross_entropy(many, none).isnan())
        assert float(cross_entropy(many, none, reduction="sum")) == 0.0


def test_cross_entropy_of_targets_that_are_no_class() -> None:
    logits = torch.randn(3, 5000, device="cuda", requires_grad=True)
    target = torch.tensor([0, 5000, -1], device="cuda")
    loss = cross_entropy(logits, target, reduction="none")
    (dx,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.isnan().tolist() == [False, True, True]
    assert dx.isnan().any(-1).tolist() == [False, True, True]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_opcheck(reduction: str) -> None:
    logits = torch.randn(2, 4, 64, device="cuda", requires_grad=True)
    target = torch.randint(0, 64, (2, 4), device="cuda")
    form = (-100, 0.1, reduction, 5.0, 0.01)
    opcheck(torch.ops.cudalint.cross_entropy, (logits[:, 1:], target[:, 1:], *form))
    logits = logits.detach()
    loss, *kept = torch.ops.cudalint.cross_entropy(logits, target, *form)
    backward = torch.ops.cudalint.cross_entropy_backward
    opcheck(backward, (loss, logits, target, *kept, *form))


@pytest.mark.parametrize("dynamic", [False, True])
def test_cross_entropy_compiled(dynamic: bool) -> None:
    torch._dynamo.reset()
    logits = torch.randn(2, 64, 1000, device="cuda", requires_grad=True)
    target = torch.randint(0, 1000, (2, 64), device="cuda")

    def program(logits: Tensor) -> Tensor:
        return cross_entropy((logits * 2.0)[:, :-1], target[:, 1:], label_smoothing=0.1) + 1.0

    ours = torch.compile(program, fullgraph=True, dynamic=dynamic)(logits)
    expected = program(logits)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours, logits)[0], torch.autograd.grad(expected, logits)[0]
    )


@pytest.mark.parametrize("amp", [torch.float16, torch.bfloat16])
def test_cross_entropy_dtypes_under_autocast(amp: torch.dtype) -> None:
    target = torch.zeros(4, device="cuda", dtype=torch.int64)
    for dtype in (*DTYPES, torch.float64):
        logits = torch.randn(4, 8, device="cuda").to(dtype)
        with torch.autocast("cuda", amp):
            by_hand = F.cross_entropy(logits, target)
            assert cross_entropy(logits, target).dtype == by_hand.dtype


def test_cross_entropy_of_more_than_2_to_the_31_elements() -> None:
    cols = 32768
    rows = 2**31 // cols + 3
    logits = torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    target = torch.arange(rows, device="cuda") % cols
    loss = cross_entropy(logits, target, reduction="none")
    picked = [0, 1, rows - 4, rows - 3, rows - 1]
    leaf = logits.detach()[picked].requires_grad_()
    fair = F.cross_entropy(leaf.float(), target[picked], reduction="none")
    torch.testing.assert_close(loss[picked], fair)
    (dx,) = torch.autograd.grad(loss, logits, torch.ones_like(loss))
    torch.testing.assert_close(dx[picked], torch.autograd.grad(fair.sum(), leaf)[0])
