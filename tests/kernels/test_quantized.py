"""int8_linear, int4_linear and their packers on the CPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import int4_linear, int8_linear, quantize_int4, quantize_int8
from cudalint.kernels._quantized import function
from cudalint.kernels._quantized.layouts import INT4_LAYOUTS
from cudalint.kernels._quantized.reference import Weight, expanded
from tests.kernels.inputs import DTYPES

N, K = 24, 64
layouts = pytest.mark.parametrize("layout", INT4_LAYOUTS)


def gptq_by_definition(qweight: Tensor, scales: Tensor, zeros: Tensor, size: int, less: int) -> Any:
    """(K, N), number by number: bits 4i of an int32 are row, or column, i of eight."""
    weight = torch.empty(K, N)
    for k, n in itertools.product(range(K), range(N)):
        q = (int(qweight[k // 8, n]) >> 4 * (k % 8)) & 15
        z = ((int(zeros[k // size, n // 8]) >> 4 * (n % 8)) & 15) + less
        weight[k, n] = scales[k // size, n] * (q - z)
    return weight


def awq_by_definition(qweight: Tensor, scales: Tensor, zeros: Tensor, size: int, less: int) -> Any:
    """(K, N): bits 4i of an int32 are column `order[i]` of eight, as AutoAWQ's packer loops."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    weight = torch.empty(K, N)
    for k, c, i in itertools.product(range(K), range(N // 8), range(8)):
        n = 8 * c + order[i]
        q = (int(qweight[k, c]) >> 4 * i) & 15
        z = (int(zeros[k // size, c]) >> 4 * i) & 15
        weight[k, n] = scales[k // size, n] * (q - z)
    return weight


DEFINITIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "gptq": (gptq_by_definition, 1),
    "gptq_v2": (gptq_by_definition, 0),
    "awq": (awq_by_definition, 0),
}


def random_int4(layout: str, size: int) -> tuple[Tensor, Tensor, Tensor]:
    shape = (K, N // 8) if layout == "awq" else (K // 8, N)
    qweight, zeros = (
        torch.randint(-(2**31), 2**31, s).to(torch.int32) for s in (shape, (K // size, N // 8))
    )
    return qweight, torch.rand(K // size, N), zeros


@layouts
@pytest.mark.parametrize("size", [16, 64])
def test_int4_is_what_the_format_defines(layout: str, size: int) -> None:
    qweight, scales, zeros = random_int4(layout, size)
    definition, less = DEFINITIONS[layout]
    weight = definition(qweight, scales, zeros, size, less)
    x, bias = torch.randn(3, 5, K), torch.randn(N)
    y = int4_linear(x, qweight, scales, zeros, size, bias, layout=layout)  # type: ignore[arg-type]
    torch.testing.assert_close(y, x @ weight + bias, rtol=1e-4, atol=1e-3)


def test_groups_out_of_order() -> None:
    qweight, scales, zeros = random_int4("gptq", 16)
    order = torch.randperm(K)
    index = torch.arange(K) // 16
    mixed = int4_linear(torch.eye(K), qweight, scales, zeros, 16, group_index=index[order])
    for k in range(K):
        weight = Weight(qweight, scales, zeros, index[order], 16, "gptq")
        torch.testing.assert_close(mixed[k], expanded(weight, torch.float32)[:, k])
    in_order = int4_linear(torch.eye(K), qweight, scales, zeros, 16)
    same = int4_linear(torch.eye(K), qweight, scales, zeros, 16, group_index=index.int())
    assert torch.equal(same, in_order)
    assert not torch.equal(mixed, in_order)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("size", [None, 16])
def test_int8_round_trip(dtype: torch.dtype, size: int | None) -> None:
    weight = torch.randn(N, K).to(dtype)
    weight[3] = 0.0
    qweight, scales = quantize_int8(weight, size)
    assert qweight.dtype == torch.int8 and scales.dtype == dtype
    assert scales.shape == ((N,) if size is None else (N, K // size))
    back = int8_linear(torch.eye(K, dtype=dtype), qweight, scales).t()
    steps = scales[:, None] if size is None else scales.repeat_interleave(size, 1)
    # half a step, and what rounding the scale and the result does to the largest
    slack = 0.5 + 127 * 2 * torch.finfo(dtype).eps
    assert bool(((back - weight).abs() <= slack * steps.abs()).all())
    again, _ = quantize_int8(back, size)
    assert (again.int() - qweight.int()).abs().max() <= (0 if dtype == torch.float64 else 1)


@layouts
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("size", [16, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_int4_round_trip(layout: Any, symmetric: bool, size: int, dtype: torch.dtype) -> None:
    weight = torch.randn(N, K).to(dtype)
    weight[1], weight[2], weight[3] = weight[1].abs(), -weight[2].abs(), 0.0
    qweight, scales, zeros = quantize_int4(weight, size, layout=layout, symmetric=symmetric)
    options = {"layout": layout}
    back = int4_linear(torch.eye(K, dtype=dtype), qweight, scales, zeros, size, **options).t()
    steps = scales.repeat_interleave(K if size == -1 else size, 0).t()
    slack = (0.5 if symmetric else 1.0) + 15 * 2 * torch.finfo(dtype).eps
    assert bool(((back - weight).abs() <= slack * steps).all())
    assert torch.equal(back[3], weight[3])
    if symmetric:
        assumed = int4_linear(torch.eye(K, dtype=dtype), qweight, scales, None, size, **options)
        assert torch.equal(assumed.t(), back)


@pytest.mark.parametrize("dtype", DTYPES)
def test_result_dtypes_and_autocast(dtype: torch.dtype) -> None:
    qweight, scales = quantize_int8(torch.randn(N, K))
    x = torch.randn(2, 3, K).to(dtype).transpose(0, 1)
    y = int8_linear(x, qweight, scales, torch.randn(N))
    assert y.dtype == dtype and y.shape == (3, 2, N)
    with torch.autocast("cpu", torch.bfloat16):
        hand = torch.nn.functional.linear(x, qweight * scales[:, None])
        assert int8_linear(x, qweight, scales).dtype == hand.dtype == torch.bfloat16


def leaves() -> tuple[Tensor, Tensor]:
    x = torch.randn(2, 3, K, dtype=torch.float64, requires_grad=True)
    return x, torch.randn(N, dtype=torch.float64, requires_grad=True)


def weights() -> dict[str, Weight]:
    weight = torch.randn(N, K, dtype=torch.float64)
    int4 = {name: quantize_int4(weight, 16, layout=name) for name in INT4_LAYOUTS}  # type: ignore[arg-type]
    packed = {name: Weight(q, s, z, None, 16, name) for name, (q, s, z) in int4.items()}
    return packed | {"int8": Weight(*quantize_int8(weight), None, None, K, "int8")}


@pytest.mark.parametrize("layout", ["int8", *INT4_LAYOUTS])
def test_the_operator_and_its_gradients(layout: str) -> None:
    weight, (x, bias) = weights()[layout], leaves()
    operator = torch.ops.cudalint.quantized_linear

    def public(x: Tensor, bias: Tensor | None) -> Tensor:
        if layout == "int8":
            return int8_linear(x, weight.qweight, weight.scales, bias)
        return int4_linear(
            x, weight.qweight, weight.scales, weight.zeros, 16, bias,
            layout=layout,  # type: ignore[arg-type]
        )  # fmt: skip

    opcheck(operator, (x.float().detach().requires_grad_(), None, *weight))
    opcheck(operator, (x, bias, *weight))
    opcheck(torch.ops.cudalint.quantized_linear_backward, (public(x, bias).detach(), *weight))
    assert torch.autograd.gradcheck(public, (x, bias))
    y, dy = operator(x, bias, *weight), torch.randn(2, 3, N, dtype=torch.float64)
    torch.testing.assert_close(y, public(x, bias))
    for wanted in ((x, bias), (x,), (bias,)):
        ours = torch.autograd.grad(y, wanted, dy, retain_graph=True)
        torch.testing.assert_close(ours, torch.autograd.grad(public(x, bias), wanted, dy))
    torch._dynamo.reset()
    compiled = torch.compile(public, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, bias), y)
    parts = torch.stack([x.detach(), 2 * x.detach()])
    batched = torch.func.vmap(lambda part: public(part, bias.detach()))(parts)
    torch.testing.assert_close(batched[1], public(parts[1], bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_int8_is_expanded_in_one_pass_as_in_two(dtype: torch.dtype) -> None:
    q, scales = torch.randint(-128, 128, (N, K)).to(torch.int8), torch.rand(N, 1).bfloat16()
    weight = Weight(q, scales, None, None, K, "int8")
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert torch.equal(expanded(weight, dtype), (q.to(wide) * scales.to(wide)).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_a_weight_is_expanded_once(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "kernel_takes", lambda x, bias, weight: True)
    monkeypatch.setattr(function, "is_new_enough", lambda x: True)
    weight = Weight(torch.ones(N, K, dtype=torch.int8), torch.ones(N), None, None, K, "int8")
    x, bias = torch.randn(2, K, dtype=dtype), torch.randn(N, requires_grad=True)
    by_hand, operator = function._by_reference, torch.ops.cudalint.quantized_linear
    assert function._route(x, None, weight) is function.run_kernel
    assert function._route(x, bias, weight) is operator
    x.requires_grad_()
    expected = by_hand if dtype == torch.float32 else operator
    assert function._route(x, bias, weight) is expected
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert function._route(x, None, weight) is by_hand
    assert function._route(x.detach(), None, weight) is operator


Q8, S8 = torch.zeros(N, K, dtype=torch.int8), torch.ones(N)
Q4, S4, Z4 = torch.zeros(K // 8, N).int(), torch.ones(4, N), torch.zeros(4, N // 8).int()
X = torch.ones(2, K)
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: int8_linear(X, Q8.int(), S8), "qweight has dtype torch.int32; accepted: torch.int8"),
    (lambda: int8_linear(X, Q8[0], S8), r"qweight has shape \(64,\)"),
    (lambda: int8_linear(X, Q8, S8[:3]), r"scales has shape \(3,\); accepted: \(24,\) or"),
    (lambda: int8_linear(X, Q8, torch.ones(N, 5)), r"scales has shape \(24, 5\)"),
    (lambda: int8_linear(X[:, :3], Q8, S8), r"x has shape \(2, 3\); accepted: \(..., 64\)"),
    (lambda: int8_linear(X.long(), Q8, S8), "x has dtype"),
    (lambda: int8_linear(X, Q8, S8.clone().requires_grad_()), "scales requires a gradient"),
    (lambda: int8_linear(X, Q8, S8, torch.ones(3)), r"bias has shape \(3,\)"),
    (lambda: int8_linear(X, Q8.to("meta"), S8), "qweight is on meta"),
    (lambda: int4_linear(X, Q4, S4, Z4, 16, layout="ggml"), "layout is 'ggml'"),  # type: ignore[arg-type]
    (lambda: int4_linear(X, Q4, S4, Z4, 16, layout=["awq"]), "layout is \\['awq'\\]"),  # type: ignore[arg-type]
    (lambda: int4_linear(X, Q4.long(), S4, Z4, 16), "qweight has dtype and shape"),
    (lambda: int4_linear(X, Q4, S4, Z4, 5), "group_size is 5; accepted: -1 or a divisor of 64"),
    (lambda: int4_linear(X, Q4, S4[:2], Z4, 16), r"scales has shape \(2, 24\)"),
    (lambda: int4_linear(X, Q4, S4, Z4[:2], 16), r"zeros has shape \(2, 3\)"),
    (lambda: int4_linear(X, Q4, S4, Z4, 16, group_index=torch.ones(3)), "group_index has dtype"),
    (lambda: quantize_int8(torch.ones(3)), r"weight has shape \(3,\); accepted: \(N, K\)"),
    (lambda: quantize_int8(torch.ones(3, 4), 3), "group_size is 3; accepted: a divisor of 4"),
    (lambda: quantize_int4(torch.ones(3, 8), -1), "accepted: multiples of 8"),
    (lambda: quantize_int4(torch.ones(8, 8), 8, layout="int8"), "layout is 'int8'"),  # type: ignore[arg-type]
    (lambda: quantize_int4(Q8), "weight has dtype torch.int8"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_refusals_say_what_is_accepted(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_what_fitted_once_does_not_excuse_the_next_call() -> None:
    """Checks are remembered by what they depend on."""
    int8_linear(X, Q8, S8, torch.ones(N))
    int4_linear(X, Q4, S4, Z4, 16)
    for call in (
        lambda: int8_linear(X, Q8, S8.clone().requires_grad_(), torch.ones(N)),
        lambda: int8_linear(X, Q8, S8, torch.ones(N, device="meta")),
        lambda: int8_linear(X, Q8, S8.int(), torch.ones(N)),
        lambda: int4_linear(X, Q4, S4, Z4, 32),
        lambda: int4_linear(X, Q4, S4, Z4, 16, layout="awq"),
        lambda: int4_linear(X, Q4, S4, Z4, 16, group_index=torch.ones(3)),
    ):
        with pytest.raises(ValueError, match="accepted: "):
            call()
