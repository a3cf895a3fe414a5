"""softmax and rms_norm on the CPU: the references against torch's own and other people's code."""
# cudalint: file-ignore[CUF004]

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import log_softmax, rms_norm, softmax
from cudalint.kernels._rms_norm import reference as rms_norm_reference
from cudalint.kernels._softmax import reference as softmax_reference
from tests.kernels.error_law import measure
from tests.kernels.inputs import DTYPES, LAYOUTS, draw

FLOATS = (*DTYPES, torch.float64)
SHAPES = [(), (1,), (5,), (3, 1), (0, 4), (4, 0), (2, 3, 33), (2, 1, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_is_torchs(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape).to(dtype) * 4
    for dim in range(-max(x.dim(), 1), max(x.dim(), 1)):
        eps = torch.finfo(dtype).eps
        close = {"rtol": 8 * eps, "atol": 2 * eps}
        torch.testing.assert_close(softmax(x, dim), torch.softmax(x, dim), **close)
        close["atol"] = 16 * eps
        torch.testing.assert_close(log_softmax(x, dim), torch.log_softmax(x, dim), **close)


@pytest.mark.parametrize(("x_dtype", "dtype"), [*itertools.product(FLOATS, FLOATS)])
def test_softmax_with_dtype_is_torchs(x_dtype: torch.dtype, dtype: torch.dtype) -> None:
    x = torch.randn(3, 33).to(x_dtype).requires_grad_()
    y, theirs = softmax(x, dtype=dtype), torch.softmax(x, -1, dtype=dtype)
    assert y.dtype == dtype
    torch.testing.assert_close(y, theirs)
    dy = torch.randn(3, 33).to(dtype)
    (dx,), (their_dx,) = (torch.autograd.grad(out, x, dy) for out in (y, theirs))
    assert dx.dtype == x_dtype
    tolerance = max(torch.finfo(x_dtype).eps, torch.finfo(dtype).eps)
    torch.testing.assert_close(dx, their_dx, rtol=8 * tolerance, atol=tolerance)


@pytest.mark.parametrize("log", [False, True])
def test_softmax_of_nan_and_infinities_is_torchs(log: bool) -> None:
    x = torch.randn(6, 5)
    x[0] = -torch.inf
    x[1, :4] = -torch.inf
    x[2, 3] = torch.nan
    x[3, 2] = torch.inf
    x[4] = torch.nan
    x[5] = torch.finfo(torch.float32).max
    ours, theirs = (log_softmax(x), torch.log_softmax(x, -1)) if log else (
        softmax(x), torch.softmax(x, -1)
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("log", [False, True])
def test_softmax_backward_formula_is_autograds(log: bool) -> None:
    x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    dy = torch.randn(3, 7, dtype=torch.float64)
    y = softmax_reference.softmax(x, -1, torch.float64, log)
    (expected,) = torch.autograd.grad(y, x, dy)
    ours = softmax_reference.softmax_backward(dy, y.detach(), torch.float64, log)
    torch.testing.assert_close(ours, expected)


def llama_by_hand(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The body of LlamaRMSNorm.forward."""
    input_dtype = x.dtype
    hidden_states = x.to(torch.float32)
    variance = hidden_states.pow(2).mean(-1, keepdim=True)
    hidden_states = hidden_states * torch.rsqrt(variance + eps)
    return weight * hidden_states.to(input_dtype)


@pytest.mark.parametrize(("x_dtype", "weight_dtype"), [*itertools.product(DTYPES, DTYPES)])
def test_llama_order_bit_for_bit(x_dtype: torch.dtype, weight_dtype: torch.dtype) -> None:
    x, weight = torch.randn(5, 123).to(x_dtype), torch.randn(123).to(weight_dtype)
    ours, theirs = rms_norm(x, weight), llama_by_hand(x, weight, 1e-6)
    assert ours.dtype == theirs.dtype == torch.result_type(x, weight)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("cols", [1, 33, 4096])
def test_late_order_is_torchs(dtype: torch.dtype, cols: int) -> None:
    x, weight = torch.randn(5, cols).to(dtype), torch.randn(cols).to(dtype)
    eps = torch.finfo(dtype).eps
    for w in (weight, None):
        theirs = F.rms_norm(x.double(), (cols,), None if w is None else w.double(), 1e-6).to(dtype)
        torch.testing.assert_close(
            rms_norm(x, w, cast="late"), theirs, rtol=2 * eps, atol=1e-6 * eps
        )


def test_late_order_with_offset_is_gemmas() -> None:
    x, weight = torch.randn(5, 64).bfloat16(), torch.randn(64).bfloat16()
    wide = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
    gemma = (wide * (1.0 + weight.float())).type_as(x)
    assert torch.equal(rms_norm(x, weight, cast="late", weight_offset=1.0), gemma)


def test_transformers_own_norms() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed here")
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    for dtype in DTYPES:
        x, weight = torch.randn(5, 64).to(dtype), torch.randn(64).to(dtype)
        for kind, options in (
            (LlamaRMSNorm, {}),
            (T5LayerNorm, {}),
            (GemmaRMSNorm, {"cast": "late", "weight_offset": 1.0}),
        ):
            module = kind(64, eps=1e-6).to(dtype)
            module.weight.data.copy_(weight)
            assert torch.equal(rms_norm(x, weight, 1e-6, **options), module(x)), kind


@pytest.mark.parametrize(("late", "offset"), [(False, 0.0), (True, 0.0), (True, 1.0)])
def test_rms_norm_backward_formula_is_autograds(late: bool, offset: float) -> None:
    x = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, dtype=torch.float64, requires_grad=True)
    dy = torch.randn(2, 3, 7, dtype=torch.float64)
    y = rms_norm_reference.rms_norm(x, weight, 1e-3, late, offset)
    expected = torch.autograd.grad(y, (x, weight), dy)
    ours = rms_norm_reference.rms_norm_backward(dy, x.detach(), weight.detach(), 1e-3, late, offset)
    torch.testing.assert_close(ours, expected)


def test_rms_norm_of_one_dimension() -> None:
    x, weight = torch.randn(7), torch.randn(7)
    torch.testing.assert_close(rms_norm(x, weight), llama_by_hand(x, weight, 1e-6))
    dx, dweight = rms_norm_reference.rms_norm_backward(x, x, weight, 1e-6, False, 0.0)
    assert dx.shape == dweight.shape == (7,)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strided_inputs(layout: str) -> None:
    x = draw(5, 12, torch.float32, layout=layout)
    flat = x.contiguous()
    torch.testing.assert_close(softmax(x), softmax(flat))
    torch.testing.assert_close(rms_norm(x), rms_norm(flat))


def test_gradients_in_float64() -> None:
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    for dim in (-1, 0):
        assert torch.autograd.gradcheck(lambda x: softmax(x, dim), x)  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda x: log_softmax(x, dim), x)  # noqa: B023
    assert torch.autograd.gradcheck(rms_norm, (x, weight))
    assert torch.autograd.gradgradcheck(
        lambda x, w: rms_norm(x, w, cast="late", weight_offset=1.0), (x, weight)
    )


def test_the_error_law_itself() -> None:
    """It must pass a fair result and fail a worse one, a NaN, and a wrong infinity."""
    exact = torch.randn(4, 64, dtype=torch.float64)
    fair = exact.to(torch.bfloat16)
    assert measure(fair, fair, exact).allowed
    worse = fair.clone()
    worse[2, 5] += 0.125
    assert not measure(worse, fair, exact).allowed
    assert not measure(fair * 1.04, fair, exact).allowed
    broken = fair.clone()
    broken[0, 0] = torch.nan
    assert not measure(broken, fair, exact).allowed
    exact[1, 1] = torch.inf
    fair[1, 1] = torch.inf
    assert measure(fair.clone(), fair, exact).allowed
    broken = fair.clone()
    broken[1, 1] = -torch.inf
    assert not measure(broken, fair, exact).allowed
