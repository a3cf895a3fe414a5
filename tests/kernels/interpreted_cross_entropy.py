"""Cross-entropy in Triton's interpreter: run by test_interpreter.py.

The interpreter truncates where bfloat16 should round, hence one more bit of tolerance there.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from cudalint.kernels._cross_entropy import launches, reference
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._cross_entropy.registration import Known
from tests.kernels.inputs import DTYPES, LAYOUTS, draw, guarded_empty, poisoned_empty

TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2**-6}
PLAIN = Options(-100, 0.0, "mean", None, 0.0)
ALL = Options(-100, 0.1, "none", 5.0, 0.01)
REDUCTIONS = ("mean", "sum", "none")


def close(ours: Tensor, fair: Tensor, *rounded: torch.dtype) -> None:
    tolerance = max(TOLERANCE[dtype] for dtype in (fair.dtype, *rounded))
    torch.testing.assert_close(ours, fair, rtol=tolerance, atol=tolerance, equal_nan=True)


def check(logits: Tensor, target: Tensor, options: Options) -> None:
    before = logits.clone(), target.clone()
    with poisoned_empty():
        losses, statistics = launches.rows_forward(logits, target, options)
        loss, share = launches.reduced(losses, target, options)
        dloss = torch.randn_like(loss)
        dx = launches.backward(dloss, logits, target, statistics, share, options)
    leaf = logits.detach().requires_grad_()
    fair = reference.cross_entropy(leaf, target, None, options)
    close(loss, fair.detach())
    close(statistics, reference.rows_forward(logits, target, options)[1])
    (expected,) = torch.autograd.grad(fair, leaf, dloss)
    close(dx, expected)
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])


def targets(shape: torch.Size, dtype: torch.dtype = torch.int64) -> Tensor:
    """Classes at random, every third one ignored."""
    target = torch.randint(0, shape[-1], shape[:-1], dtype=dtype)
    target.view(-1)[2::3] = -100
    return target


SHAPES = [(3, cols, DTYPES[i % 3]) for i, cols in enumerate((1, 33, 123, 1024, 4096, 9001))]
SHAPES += [(rows, 33, torch.float32) for rows in (0, 1, 199)]


@pytest.mark.parametrize(("rows", "cols", "dtype"), SHAPES)
@pytest.mark.parametrize("options", [PLAIN, ALL, PLAIN._replace(label_smoothing=0.2)], ids=str)
def test_cross_entropy(rows: int, cols: int, dtype: torch.dtype, options: Options) -> None:
    logits = draw(rows, cols, dtype, scale=3.0)
    check(logits, targets(logits.shape), options)


@pytest.mark.parametrize("cols", [40, 5000])
@pytest.mark.parametrize(
    ("smoothing", "softcap", "z_loss"), [*product((0.0, 1.0), (None, 30.0), (0.0, 1e-3))]
)
def test_switches(cols: int, smoothing: float, softcap: float | None, z_loss: float) -> None:
    logits = draw(3, cols, torch.float32, scale=20.0)
    for reduction in REDUCTIONS:
        options = Options(1, smoothing, reduction, softcap, z_loss)
        check(logits, targets(logits.shape).clamp(min=1), options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_and_shifted_slices(layout: str) -> None:
    logits = draw(5, 40, torch.float32, layout=layout)
    check(logits, targets(logits.shape, torch.int32), ALL)
    logits = torch.randn(3, 6, 40)
    target = targets(logits.shape)
    check(logits[:, :-1], target[:, 1:], PLAIN)
    check(logits.transpose(0, 1), target.t(), ALL)


def test_more_levels_than_the_kernels_step_through_are_copied() -> None:
    logits = torch.randn(2, 3, 2, 3, 2, 8)[:, :2, :, :2].permute(3, 1, 0, 2, 4, 5)
    check(logits, targets(logits.shape), PLAIN)


@pytest.mark.parametrize("cols", [33, 9000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nan_and_infinities(cols: int, smoothing: float) -> None:
    logits = draw(7, cols, torch.float32)
    logits[0], logits[1, 1:], logits[2, 5] = -torch.inf, -torch.inf, torch.nan
    logits[3, 7], logits[4, 3], logits[5] = torch.inf, -torch.inf, torch.nan
    target = torch.tensor([0, 0, 1, 2, 3, -100, 4])
    options = PLAIN._replace(label_smoothing=smoothing, reduction="none")
    losses, _ = launches.rows_forward(logits, target, options)
    close(losses, reference.cross_entropy(logits, target, None, options))


@pytest.mark.parametrize("offset", [1000.0, -1000.0])
@pytest.mark.parametrize("cols", [123, 9000])
def test_logits_far_from_zero(offset: float, cols: int) -> None:
    logits = draw(3, cols, torch.float32, offset=offset)
    check(logits, targets(logits.shape), PLAIN)
    check(logits, targets(logits.shape), PLAIN._replace(label_smoothing=0.1))


@pytest.mark.parametrize("cols", [33, 9000])
def test_nothing_to_learn_from_and_targets_that_are_no_class(cols: int) -> None:
    logits = draw(3, cols, torch.float32)
    check(logits, torch.full((3,), -100), PLAIN)
    target = torch.tensor([0, cols, -1])
    options = PLAIN._replace(reduction="none")
    losses, statistics = launches.rows_forward(logits, target, options)
    dx = launches.backward(torch.ones(3), logits, target, statistics, losses, options)
    assert losses.isnan().tolist() == [False, True, True]
    assert dx.isnan().any(-1).tolist() == [False, True, True]


@pytest.mark.parametrize("cols", [1, 33, 5000])
def test_nothing_is_written_outside_the_results(cols: int) -> None:
    logits, target = torch.randn(3, cols), torch.zeros(3, dtype=torch.int64)
    with guarded_empty() as guards:
        losses, statistics = launches.rows_forward(logits, target, ALL)
        launches.reduced(losses, target, PLAIN)
        launches.backward(losses, logits, target, statistics, losses, ALL)
    assert guards.untouched()


def test_the_gradient_may_take_the_place_of_the_logits() -> None:
    logits = torch.randn(3, 5000)
    target = targets(logits.shape)
    losses, statistics = launches.rows_forward(logits, target, ALL)
    expected = launches.backward(losses, logits, target, statistics, losses, ALL)
    launches.backward(losses, logits, target, statistics, losses, ALL, dx=logits)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("layout", ["contiguous", "chunk", "strided_last"])
@pytest.mark.parametrize("options", [PLAIN, ALL, PLAIN._replace(reduction="sum")], ids=str)
def test_a_call_that_is_known_does_what_the_first_did(layout: str, options: Options) -> None:
    logits = draw(7, 40, torch.float32, layout=layout)
    target, known = targets(logits.shape), Known(options)
    for _ in range(3):
        loss, statistics, share = launches.loss(logits, target, known)
        fair = launches.rows_forward(logits, target, options)
        assert torch.equal(statistics, fair[1])
        close(loss, launches.reduced(fair[0], target, options)[0])
        assert loss.data_ptr() not in (statistics.data_ptr(), share.data_ptr())
        dloss = torch.randn_like(loss)
        dx = launches.gradient(dloss, logits, target, statistics, share, known)
        slow = launches.backward(dloss, logits, target, statistics, share, options)
        assert torch.equal(dx, slow)
    assert (known.single is None) == (options is ALL or layout == "strided_last")
    assert (known.forward is None) == (options is not ALL or layout == "strided_last")


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_more_rows_than_a_program_takes(reduction: str) -> None:
    logits, options = torch.randn(70, 40), PLAIN._replace(reduction=reduction)
    target, known = targets(logits.shape), Known(options)
    for _ in range(2):
        close(launches.loss(logits, target, known)[0], reference.cross_entropy(
            logits, target, None, options
        ))  # fmt: skip
    assert known.single is None and known.forward is not None
    assert (known.reduce is None) == (reduction == "none")


def test_no_target_left_is_nan_for_mean_and_0_for_sum() -> None:
    logits, target = torch.randn(3, 40), torch.full((3,), -100)
    for reduction, expected in (("mean", float("nan")), ("sum", 0.0)):
        known = Known(PLAIN._replace(reduction=reduction))
        loss = launches.loss(logits, target, known)[0]
        torch.testing.assert_close(loss, torch.tensor(expected), equal_nan=True)
