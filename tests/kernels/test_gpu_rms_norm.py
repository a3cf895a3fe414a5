"""rms_norm on a GPU: the error law, native twins bit for bit, subsets of gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import rms_norm
from cudalint.kernels._rms_norm import reference
from tests.kernels.error_law import assert_all_allowed, draws
from tests.kernels.inputs import DTYPES, Case, covering_cases, draw, poisoned_empty, tokens

pytestmark = pytest.mark.gpu

EPS = 1e-6


def ours(
    x: Tensor, weight: Tensor | None, dy: Tensor, late: bool, offset: float
) -> tuple[Tensor, ...]:
    leaves = [t.detach().requires_grad_() for t in (x, weight) if t is not None]
    w = leaves[1] if weight is not None else None
    y = rms_norm(leaves[0], w, EPS, cast="late" if late else "llama", weight_offset=offset)
    return y.detach(), *torch.autograd.grad(y, leaves, dy)


def fair(
    x: Tensor, weight: Tensor | None, dy: Tensor, late: bool, offset: float
) -> tuple[Tensor, ...]:
    leaves = [t.detach().requires_grad_() for t in (x, weight) if t is not None]
    w = leaves[1] if weight is not None else None
    y = reference.rms_norm(leaves[0], w, EPS, late, offset)
    wide = x.dtype if weight is None or late else torch.result_type(x, weight)
    gradients = reference.rms_norm_backward(dy, x, weight, EPS, late, offset)
    assert y.dtype == wide
    return y.detach(), *gradients[: len(leaves)]


def exact(
    x: Tensor, weight: Tensor | None, dy: Tensor, late: bool, offset: float
) -> tuple[Tensor, ...]:
    return fair(x.double(), None if weight is None else weight.double(), dy.double(), late, offset)


Results = list[tuple[Tensor, Tensor, Tensor]]


def check(x: Tensor, weight: Tensor | None, late: bool = False, offset: float = 0.0) -> Results:
    """(ours, fair, exact) of the result and of each gradient."""
    dtype = reference.result_dtype(x, weight, late)
    dy = torch.randn(x.shape, device="cuda").to(dtype)
    before = x.clone(), dy.clone()
    with poisoned_empty():
        results = ours(x, weight, dy, late, offset)
    arguments = (x, weight, dy, late, offset)
    assert torch.equal(x, before[0])
    assert torch.equal(dy, before[1])
    return list(zip(results, fair(*arguments), exact(*arguments), strict=True))


def check_case(case: Case, late: bool = False, offset: float = 0.0) -> None:
    rows, cols, dtype, layout = case
    runs = []
    for seed in draws(rows, cols):
        weight = draw(1, cols, dtype, device="cuda", seed=1000 + seed)[0]
        x = draw(rows, cols, dtype, layout=layout, device="cuda", seed=seed)
        runs.append(check(x, weight, late, offset))
    assert_all_allowed(runs)


@pytest.mark.parametrize("case", covering_cases(3), ids=str)
def test_llama(case: Case) -> None:
    check_case(case)


@pytest.mark.parametrize("case", covering_cases(4), ids=str)
def test_late_with_offset(case: Case) -> None:
    check_case(case, late=True, offset=1.0)


@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("weight_dtype", [None, *DTYPES])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("cols", [760, 32768])
def test_dtypes(
    x_dtype: torch.dtype, weight_dtype: torch.dtype | None, late: bool, cols: int
) -> None:
    weight = None
    if weight_dtype is not None:
        weight = draw(1, cols, weight_dtype, device="cuda", seed=2)[0]
    assert_all_allowed([check(draw(19, cols, x_dtype, device="cuda", offset=3.0), weight, late)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_leading_dimensions_that_do_not_merge(dtype: torch.dtype) -> None:
    x = tokens(7, 128, dtype, "cuda")
    assert_all_allowed([check(x, torch.randn(128, device="cuda").to(dtype))])
    assert rms_norm(x).stride() == torch.empty_like(x).stride()


@pytest.mark.parametrize("cols", [128, 4096])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_upcast_of_the_sum(dtype: torch.dtype, cols: int) -> None:
    """x² of 300 overflows float16."""
    xs = [draw(3, cols, dtype, device="cuda", scale=300.0, seed=s) for s in draws(3, cols)]
    assert_all_allowed([check(x, None) for x in xs])


@pytest.mark.parametrize("shape", [(8, 2048), (4, 7, 4096), (3, 123)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_native_twins(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """`late` is F.rms_norm, `llama` is weight · F.rms_norm: bit for bit but for the sum's order."""
    x = torch.randn(shape, device="cuda", dtype=dtype)
    weight = torch.randn(shape[-1], device="cuda", dtype=dtype)
    n = (shape[-1],)
    late = F.rms_norm(x, n, weight, EPS)
    llama = weight * F.rms_norm(x, n, None, EPS)
    for result, theirs in ((rms_norm(x, weight, cast="late"), late), (rms_norm(x, weight), llama)):
        differing = (result != theirs).sum()
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(result, theirs, rtol=4 * eps, atol=0)
        assert dtype == torch.float32 or differing <= max(1e-3 * result.numel(), 4)


@pytest.mark.parametrize("needs", [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize("cols", [256, 4096, 40000])
def test_each_subset_of_gradients(needs: tuple[bool, bool], cols: int) -> None:
    x, weight = draw(19, cols, torch.float32, device="cuda"), torch.randn(cols, device="cuda")
    x.requires_grad_(needs[0])
    weight.requires_grad_(needs[1])
    y = rms_norm(x, weight, EPS)
    assert y.requires_grad is any(needs)
    if not any(needs):
        return
    dy = torch.randn_like(y)
    y.backward(dy)
    dx, dweight = reference.rms_norm_backward(dy, x.detach(), weight.detach(), EPS, False, 0.0)
    assert (x.grad is not None, weight.grad is not None) == needs
    if x.grad is not None:
        torch.testing.assert_close(x.grad, dx)
    if weight.grad is not None:
        torch.testing.assert_close(weight.grad, dweight, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cols", [33, 4096, 65537])
def test_nan_and_infinities(cols: int) -> None:
    x = draw(4, cols, torch.float32, device="cuda")
    x[0, 3], x[1, 4], x[2], x[3] = float("nan"), float("inf"), 1e20, 0.0
    fair_y = reference.rms_norm(x, None, 0.0, True, 0.0)
    torch.testing.assert_close(rms_norm(x, None, 0.0, cast="late"), fair_y, equal_nan=True)


@pytest.mark.parametrize("shape", [(5,), (2, 0), (0, 4), (2, 3, 4, 5, 6)])
def test_shapes(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, device="cuda", requires_grad=True)
    weight = torch.randn(shape[-1], device="cuda", requires_grad=True)
    y = rms_norm(x, weight, EPS)
    torch.testing.assert_close(y, F.rms_norm(x, shape[-1:], weight, EPS))
    y.sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape
    assert weight.grad is not None and weight.grad.shape == weight.shape


def test_more_than_2_to_the_31_elements() -> None:
    cols = 4096
    rows = 2**31 // cols + 3
    x = torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight = torch.ones(cols, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    y = rms_norm(x, weight, EPS)
    picked = [0, 1, rows - 4, rows - 3, rows - 1]
    part = x.detach()[picked]
    torch.testing.assert_close(
        y.detach()[picked], reference.rms_norm(part, weight.detach(), EPS, False, 0.0)
    )
    dy = torch.randn(1, cols, device="cuda", dtype=x.dtype).expand(rows, cols)
    (dx,) = torch.autograd.grad(y, x, dy)
    expected, _ = reference.rms_norm_backward(dy[:5], part, weight.detach(), EPS, False, 0.0)
    torch.testing.assert_close(dx[picked], expected)
