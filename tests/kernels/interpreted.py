"""The Triton kernels on the CPU, in Triton's interpreter: run by test_interpreter.py.

The interpreter truncates where bfloat16 should round, hence one more bit of tolerance there.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from cudalint.kernels._rms_norm import launches as rms_norm_launches
from cudalint.kernels._rms_norm import reference as rms_norm_reference
from cudalint.kernels._softmax import launches as softmax_launches
from cudalint.kernels._softmax import reference as softmax_reference
from tests.kernels.inputs import LAYOUTS, draw, guarded_empty, poisoned_empty, tokens

TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2**-6}

# Each column count once with each dtype in turn, then each layout: a covering set, no product.
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
COLUMNS = (1, 33, 123, 760, 1023, 1024, 4096)
SHAPES = [(3, cols, DTYPES[i % 3], "contiguous") for i, cols in enumerate(COLUMNS)]
SHAPES += [(rows, 33, torch.float32, "contiguous") for rows in (0, 1, 199)]
SHAPES += [(5, 40, DTYPES[i % 3], layout) for i, layout in enumerate(LAYOUTS)]
SHAPES += [(2, 65537, torch.float32, "contiguous")]
# where the weight's gradient is summed in chunks: the next row read ahead, and not
CHUNKED = [(5, 16384, torch.float16, "contiguous"), (3, 10240, torch.float16, "transposed")]


def norm(x: Tensor, weight: Tensor | None, *form: float) -> Tensor:
    return rms_norm_launches.forward(x, weight, rms_norm_launches.Form(*form))


def norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, eps: float, late: bool, offset: float,
    x_grad: bool, weight_grad: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    form = rms_norm_launches.Form(eps, late, offset)
    return rms_norm_launches.backward(dy, x, weight, form, x_grad, weight_grad)


def close(ours: Tensor, fair: Tensor, *rounded: torch.dtype, scale: float | None = None) -> None:
    """Equal up to the coarsest of the result's dtype and those that values were `rounded` to."""
    tolerance = max(TOLERANCE[dtype] for dtype in (ours.dtype, *rounded))
    if scale is None:
        scale = (
            float(fair.double().nan_to_num(0, 0, 0).abs().max()) if fair.numel() else 1.0
        )  # cudalint: ignore[CUS004]
    torch.testing.assert_close(ours, fair, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


# several programs a row, the last with less to do
TEAMS = [(2, 70000, torch.float16, "contiguous"), (3, 33000, torch.float16, "transposed")]


@pytest.mark.parametrize(("rows", "cols", "dtype", "layout"), SHAPES + TEAMS)
@pytest.mark.parametrize("log", [False, True])
def test_softmax(rows: int, cols: int, dtype: torch.dtype, layout: str, log: bool) -> None:
    x = draw(rows, cols, dtype, layout=layout, scale=3.0)
    dy = draw(*x.shape, dtype, seed=1) if x.dim() == 2 else torch.randn(x.shape).to(dtype)
    x_before, dy_before = x.clone(), dy.clone()
    with poisoned_empty():
        y = softmax_launches.forward(x, dtype, log)
        dx = softmax_launches.backward(dy, y, dtype, log)
    close(y, softmax_reference.softmax(x, -1, dtype, log))
    close(dx, softmax_reference.softmax_backward(dy, y, dtype, log))
    assert torch.equal(x, x_before)
    assert torch.equal(dy, dy_before)


@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_in_another_dtype(x_dtype: torch.dtype, dtype: torch.dtype) -> None:
    x = draw(3, 33, x_dtype)
    y = softmax_launches.forward(x, dtype, False)
    assert y.dtype == dtype
    close(y, softmax_reference.softmax(x, -1, dtype, False))
    dx = softmax_launches.backward(draw(3, 33, dtype, seed=1), y, x_dtype, False)
    assert dx.dtype == x_dtype


@pytest.mark.parametrize("cols", [33, 40000])
@pytest.mark.parametrize("log", [False, True])
def test_softmax_of_nan_and_infinities(cols: int, log: bool) -> None:
    x = draw(7, cols, torch.float32)
    x[0] = -float("inf")
    x[1, : cols - 1] = -float("inf")
    x[2, 5] = float("nan")
    x[3, 7] = float("inf")
    x[4] = float("nan")
    x[5, :20] = -float("inf")
    close(softmax_launches.forward(x, torch.float32, log), torch_softmax(x, log))


def torch_softmax(x: Tensor, log: bool) -> Tensor:
    return torch.log_softmax(x, -1) if log else torch.softmax(x, -1)


FORMS = [(False, 0.0), (True, 0.0), (True, 1.0)]


@pytest.mark.parametrize(("rows", "cols", "dtype", "layout"), SHAPES + CHUNKED)
@pytest.mark.parametrize(("late", "offset"), FORMS)
def test_rms_norm(
    rows: int, cols: int, dtype: torch.dtype, layout: str, late: bool, offset: float
) -> None:
    x = draw(rows, cols, dtype, layout=layout)
    weight = torch.randn(cols).to(dtype)
    numbers = (1e-6, late, offset)
    with poisoned_empty():
        y = norm(x, weight, *numbers)
        dy = torch.randn(y.shape).to(y.dtype)
        dx, dweight = norm_backward(dy, x, weight, *numbers, True, True)
    fair = rms_norm_reference.rms_norm(x, weight, *numbers)
    close(y, fair)
    if layout not in ("expanded", "strided_last"):
        assert y.stride() == fair.stride()
    fair_dx, fair_dweight = rms_norm_reference.rms_norm_backward(dy, x, weight, *numbers)
    # of a single column nearly nothing is left: g − x̂·(g·x̂), where x̂ is ±1
    scale = 1.0 if cols == 1 else None
    close(dx, fair_dx, scale=scale)
    close(dweight, fair_dweight, scale=scale)


MIXED = [(33, *case) for case in product(DTYPES, (None, *DTYPES), (False, True))]
MIXED += [(20000, torch.float32, weight, late) for weight in (None, *DTYPES) for late in (0, 1)]


@pytest.mark.parametrize(("cols", "x_dtype", "weight_dtype", "late"), MIXED)
def test_rms_norm_dtypes(
    cols: int, x_dtype: torch.dtype, weight_dtype: torch.dtype | None, late: bool
) -> None:
    x = draw(3, cols, x_dtype)
    weight = None if weight_dtype is None else torch.randn(cols).to(weight_dtype)
    y = norm(x, weight, 1e-6, late, 0.0)
    fair = rms_norm_reference.rms_norm(x, weight, 1e-6, late, 0.0)
    assert y.dtype == fair.dtype
    close(y, fair, x_dtype)
    dy = torch.randn(y.shape).to(y.dtype)
    for x_grad, weight_grad in ((True, weight is not None), (True, False)):
        dx, dweight = norm_backward(dy, x, weight, 1e-6, late, 0.0, x_grad, weight_grad)
        fair_dx, fair_dweight = rms_norm_reference.rms_norm_backward(dy, x, weight, 1e-6, late, 0.0)
        close(dx, fair_dx)
        if weight_grad:
            assert weight is not None and dweight.dtype == weight.dtype
            close(dweight, fair_dweight, x_dtype)
        else:
            assert dweight.numel() == 0


@pytest.mark.parametrize("cols", [64, 20000])
def test_rms_norm_weight_gradient_alone(cols: int) -> None:
    x, weight = draw(5, cols, torch.float32), torch.randn(cols)
    dy = torch.randn(5, cols)
    dx, dweight = norm_backward(dy, x, weight, 1e-6, False, 0.0, False, True)
    assert dx.numel() == 0
    close(dweight, rms_norm_reference.rms_norm_backward(dy, x, weight, 1e-6, False, 0.0)[1])


@pytest.mark.parametrize("cols", [64, 20000])
def test_rms_norm_of_zero_rows_without_eps_keeps_other_gradients_finite(cols: int) -> None:
    """Rows past the end of a tile must add nothing: there 0 · rsqrt(0) is NaN."""
    x, weight = draw(1, cols, torch.float32), torch.randn(cols)
    dy = torch.randn(1, cols)
    dx, dweight = norm_backward(dy, x, weight, 0.0, False, 0.0, True, True)
    fair_dx, fair_dweight = rms_norm_reference.rms_norm_backward(dy, x, weight, 0.0, False, 0.0)
    close(dx, fair_dx)
    close(dweight, fair_dweight)


@pytest.mark.parametrize("cols", [33, 20000])
def test_rms_norm_of_nan_and_infinities(cols: int) -> None:
    x = draw(4, cols, torch.float32)
    x[0, 3], x[1, 4], x[2] = float("nan"), float("inf"), 1e20
    close(
        norm(x, None, 1e-6, True, 0.0),
        rms_norm_reference.rms_norm(x, None, 1e-6, True, 0.0),
    )


@pytest.mark.parametrize("offset", [1000.0, -1000.0])
def test_inputs_far_from_zero(offset: float) -> None:
    x = draw(3, 123, torch.float32, offset=offset)
    close(
        softmax_launches.forward(x, torch.float32, False),
        softmax_reference.softmax(x, -1, torch.float32, False),
    )
    close(
        norm(x, None, 1e-6, False, 0.0),
        rms_norm_reference.rms_norm(x, None, 1e-6, False, 0.0),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_leading_dimensions_that_do_not_merge(dtype: torch.dtype) -> None:
    x, dy = tokens(5, 24, dtype), tokens(5, 24, dtype).flip(0)
    weight = torch.randn(24).to(dtype)
    y = norm(x, weight, 1e-6, False, 0.0)
    close(y, rms_norm_reference.rms_norm(x, weight, 1e-6, False, 0.0))
    assert y.stride() == torch.empty_like(x).stride()
    ours = norm_backward(dy, x, weight, 1e-6, False, 0.0, True, True)
    fair = rms_norm_reference.rms_norm_backward(dy, x, weight, 1e-6, False, 0.0)
    close(ours[0], fair[0])
    close(ours[1], fair[1])
    y = softmax_launches.forward(x, dtype, False)
    close(y, softmax_reference.softmax(x, -1, dtype, False))
    close(
        softmax_launches.backward(dy, y, dtype, False),
        softmax_reference.softmax_backward(dy, y, dtype, False),
    )


def test_more_levels_than_the_kernels_step_through_are_copied() -> None:
    x = torch.randn(2, 3, 2, 3, 2, 8)[:, :2, :, :2].permute(3, 1, 0, 2, 4, 5)
    y = norm(x, None, 1e-6, False, 0.0)
    close(y, rms_norm_reference.rms_norm(x, None, 1e-6, False, 0.0))
    y = softmax_launches.forward(x, torch.float32, False)
    close(y, softmax_reference.softmax(x, -1, torch.float32, False))


@pytest.mark.parametrize("shape", [(4, 33), (2, 3, 33)])
def test_gradients_of_stride_zero(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    for dy in (torch.ones(()).expand(shape), torch.randn(shape[-1]).expand(shape)):
        y = softmax_launches.forward(x, torch.float32, False)
        close(
            softmax_launches.backward(dy, y, torch.float32, False),
            softmax_reference.softmax_backward(dy, y, torch.float32, False),
            scale=1.0,
        )
        ours = norm_backward(dy, x, None, 1e-6, False, 0.0, True, False)[0]
        close(ours, rms_norm_reference.rms_norm_backward(dy, x, None, 1e-6, False, 0.0)[0])


@pytest.mark.parametrize("cols", [1, 33, 2048, 40000])
def test_nothing_is_written_outside_the_results(cols: int) -> None:
    x, weight = torch.randn(3, cols), torch.randn(cols)
    with guarded_empty() as guards:
        y = softmax_launches.forward(x, torch.float32, False)
        softmax_launches.backward(x, y, torch.float32, False)
        norm(x, weight, 1e-6, False, 0.0)
        norm_backward(x, x, weight, 1e-6, False, 0.0, True, True)
    assert guards.untouched()
