"""softmax and log_softmax on a GPU: the error law, the odd values, the odd layouts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cudalint.kernels import log_softmax, softmax
from cudalint.kernels._softmax import launches, reference, teams
from tests.kernels.error_law import assert_all_allowed, assert_allowed, draws
from tests.kernels.inputs import DTYPES, Case, covering_cases, draw, poisoned_empty

pytestmark = pytest.mark.gpu

FUNCTIONS = {False: softmax, True: log_softmax}


def forward_backward(
    x: Tensor, dy: Tensor, log: bool, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    y = FUNCTIONS[log](leaf, dtype=dtype)
    (dx,) = torch.autograd.grad(y, leaf, dy)
    return y.detach(), dx


def by_reference(x: Tensor, dy: Tensor, log: bool, wide: torch.dtype) -> tuple[Tensor, Tensor]:
    """Forward and gradient computed in `wide`, rounded once to the dtypes of the call."""
    leaf = x.detach().to(wide).requires_grad_()
    y = reference.softmax(leaf, -1, wide, log)
    (dx,) = torch.autograd.grad(y, leaf, dy.to(wide))
    return y.detach(), dx


def check(x: Tensor, log: bool) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(ours, fair, exact) of the result and of the gradient."""
    dy = torch.randn(x.shape, device="cuda").to(x.dtype)
    before = x.clone(), dy.clone()
    with poisoned_empty():
        y, dx = forward_backward(x, dy, log)
    exact, exact_dx = by_reference(x, dy, log, torch.float64)
    fair, fair_dx = (t.to(x.dtype) for t in by_reference(x, dy, log, torch.float32))
    assert torch.equal(x, before[0])
    assert torch.equal(dy, before[1])
    return [(y, fair, exact), (dx, fair_dx, exact_dx)]


def check_case(case: Case, log: bool, offset: float = 0.0) -> None:
    rows, cols, dtype, layout = case
    options = {"layout": layout, "device": "cuda", "scale": 2.0, "offset": offset}
    xs = [draw(rows, cols, dtype, seed=seed, **options) for seed in draws(rows, cols)]
    assert_all_allowed([check(x, log) for x in xs])


@pytest.mark.parametrize("case", covering_cases(1), ids=str)
def test_softmax(case: Case) -> None:
    check_case(case, log=False)


@pytest.mark.parametrize("case", covering_cases(2), ids=str)
def test_log_softmax(case: Case) -> None:
    check_case(case, log=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [123, 65537])
def test_inputs_far_from_zero(dtype: torch.dtype, cols: int) -> None:
    check_case((3, cols, dtype, "contiguous"), log=False, offset=1000.0)


@pytest.mark.parametrize("cols", [33, 4096, 65537])
@pytest.mark.parametrize("log", [False, True])
def test_nan_and_infinities_come_out_as_torchs(cols: int, log: bool) -> None:
    x = draw(7, cols, torch.float32, device="cuda")
    x[0] = -float("inf")
    x[1, : cols - 1] = -float("inf")
    x[2, 5] = float("nan")
    x[3, 7] = float("inf")
    x[4] = float("nan")
    x[5, :20] = -float("inf")
    x[6] = torch.finfo(torch.float32).max
    theirs = torch.log_softmax(x, -1) if log else torch.softmax(x, -1)
    torch.testing.assert_close(FUNCTIONS[log](x), theirs, equal_nan=True, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_argument(x_dtype: torch.dtype, dtype: torch.dtype) -> None:
    x = draw(3, 760, x_dtype, device="cuda")
    dy = draw(3, 760, dtype, device="cuda", seed=1)
    y, dx = forward_backward(x, dy, log=False, dtype=dtype)
    assert (y.dtype, dx.dtype) == (dtype, x_dtype)
    exact = torch.softmax(x.to(dtype).double(), -1)
    assert_allowed(y, reference.softmax(x, -1, dtype, False), exact)


def test_bfloat16_is_the_rounded_float32() -> None:
    x = draw(64, 4096, torch.bfloat16, device="cuda")
    assert torch.equal(softmax(x), softmax(x, dtype=torch.float32).to(torch.bfloat16))


@pytest.mark.parametrize("dim", [0, 1, -2])
def test_other_dimensions(dim: int) -> None:
    x = torch.randn(5, 33, 7, device="cuda")
    torch.testing.assert_close(softmax(x, dim), torch.softmax(x, dim))


@pytest.mark.parametrize("shape", [(), (5,), (2, 0), (0, 4), (2, 3, 4, 5, 6)])
def test_shapes(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, device="cuda")
    torch.testing.assert_close(softmax(x), torch.softmax(x, -1))


@pytest.mark.parametrize("cols", [40000, 131072, 300000])
def test_rows_that_several_programs_share(cols: int) -> None:
    """Many rows, one alone, many from two streams at once, and replayed: the same bits."""
    x, dy = (torch.randn(400, cols, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    y, dx = forward_backward(x, dy, log=False)
    torch.testing.assert_close(y, torch.softmax(x, -1))
    alone = forward_backward(x[7:8], dy[7:8], log=False)
    assert torch.equal(alone[0], y[7:8]) and torch.equal(alone[1], dx[7:8])
    found = []
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    for stream in streams * 4:
        with torch.cuda.stream(stream):
            found.append(forward_backward(x, dy, log=False))
    torch.cuda.synchronize()
    assert all(torch.equal(a, y) and torch.equal(b, dx) for a, b in found)
    graph, leaf = torch.cuda.CUDAGraph(), x.detach().requires_grad_()
    with torch.cuda.graph(graph):  # forward too: backward runs on the stream of its forward
        (captured,) = torch.autograd.grad(softmax(leaf), leaf, dy)
    for _ in range(3):
        captured.fill_(float("nan"))
        graph.replay()
        assert torch.equal(captured, dx)


def test_a_program_whose_team_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does without: as where there is no room for a team, or where something else has the GPU."""
    x, dy = (torch.randn(64, 100_000, device="cuda") for _ in range(2))
    _, dx = forward_backward(x, dy, log=False)
    monkeypatch.setattr(teams, "POLLS", 1)
    monkeypatch.setattr(launches, "_contiguous_backwards", {})
    _, alone = forward_backward(x, dy, log=False)
    torch.testing.assert_close(alone, dx)


def test_more_than_2_to_the_31_elements() -> None:
    """Compared where 32-bit offsets would wrap: a float64 reference of the whole takes 17 GB."""
    cols = 4096
    rows = 2**31 // cols + 3
    x = torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    y = softmax(x)
    dy = torch.ones(1, cols, device="cuda", dtype=x.dtype).expand(rows, cols)
    picked = [0, 1, rows - 4, rows - 3, rows - 1]
    fair = torch.softmax(x.detach()[picked].float(), -1).to(x.dtype)
    torch.testing.assert_close(y[picked], fair)
    (dx,) = torch.autograd.grad(y, x, dy)
    assert bool(dx[picked].isfinite().all())
