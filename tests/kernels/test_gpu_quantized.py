"""Products with integer weights on a GPU: the error law, gradients, graphs, what has no kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import int4_linear, int8_linear, quantize_int4, quantize_int8
from cudalint.kernels._quantized import registration
from cudalint.kernels._quantized.reference import Weight, expanded
from tests.kernels.error_law import assert_allowed
from tests.kernels.inputs import DTYPES, guarded_empty, poisoned_empty

pytestmark = pytest.mark.gpu

LAYOUTS = ("int8", "gptq", "gptq_v2", "awq")
layouts = pytest.mark.parametrize("layout", LAYOUTS)


class Case(NamedTuple):
    layout: str = "gptq"
    dtype: torch.dtype = torch.bfloat16
    rows: int = 1
    outputs: int = 1000
    inputs: int = 1024
    group: int | None = 128


def weight_of(case: Case, dtype: torch.dtype | None = None) -> Weight:
    rng = torch.Generator("cuda").manual_seed(1)
    shape = (case.outputs, case.inputs)
    numbers = torch.randn(shape, generator=rng, device="cuda").to(dtype or case.dtype)
    size = case.inputs if case.group is None else case.group
    if case.layout == "int8":
        return Weight(*quantize_int8(numbers, case.group), None, None, size, "int8")
    layout: Any = case.layout
    return Weight(*quantize_int4(numbers, size, layout=layout), None, size, case.layout)


def run(x: Tensor, w: Weight, bias: Tensor | None = None) -> Tensor:
    if w.layout == "int8":
        return int8_linear(x, w.qweight, w.scales, bias)
    layout: Any = w.layout
    return int4_linear(
        x, w.qweight, w.scales, w.zeros, w.group_size, bias, layout=layout,
        group_index=w.group_index,
    )  # fmt: skip


def products(x: Tensor, w: Weight, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Fair, with each weight rounded to x's dtype and float32 sums, and in float64."""
    found = []
    for wide, weight in ((torch.float32, expanded(w, x.dtype)), (torch.float64, None)):
        weight = expanded(w, wide) if weight is None else weight.to(wide)
        y = x.to(wide) @ weight.T
        found.append(y if bias is None else y + bias.to(wide))
    return found[0].to(x.dtype), found[1]


CASES = [Case(layout, dtype) for layout in LAYOUTS for dtype in DTYPES]
CASES += [Case(layout, rows=r) for layout in LAYOUTS[::3] for r in (3, 8, 16, 17, 64)]
CASES += [Case("gptq", torch.float16, r, 1000, 4096) for r in (8, 33, 64)]
CASES += [
    Case(layout, rows=2, group=g) for layout in LAYOUTS[::3] for g in (32, 96, None) if g != 96
]
CASES += [Case("gptq", dtype, 2, group=g) for g in (32, 64, 256, None) for dtype in DTYPES[:2]]
CASES += [
    Case("int8", rows=5, outputs=33, inputs=999, group=None),
    Case("awq", inputs=992, group=32),
]
CASES += [Case("gptq", inputs=1000, group=None), Case("gptq", torch.float32, 64, 24, 11008)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_error_law(case: Case) -> None:
    w = weight_of(case)
    x = torch.randn(case.rows, case.inputs + 8, device="cuda").to(case.dtype)[:, 8:]
    for bias in (None, torch.randn(case.outputs, device="cuda")):
        assert registration.kernel_takes(x, bias, w)
        before = [t.clone() for t in (x, w.qweight, w.scales)]
        with poisoned_empty():
            y = run(x, w, bias)
        assert torch.equal(y, run(x, w, bias))
        assert_allowed(y, *products(x, w, bias))
        after = (x, w.qweight, w.scales)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


FALLBACKS = [
    Case(rows=65),
    Case("awq", rows=1000),
    Case("awq", inputs=1008, group=16),
    Case(group=8),
]


@pytest.mark.parametrize("case", FALLBACKS, ids=str)
def test_what_has_no_kernel_runs_the_reference(case: Case) -> None:
    w, x = weight_of(case), torch.randn(case.rows, case.inputs, device="cuda").to(case.dtype)
    assert not registration.kernel_takes(x, None, w)
    assert_allowed(run(x, w), *products(x, w, None), factor=3.0)


def test_groups_out_of_order_run_the_reference() -> None:
    case = Case()
    index = torch.arange(case.inputs, device="cuda")[torch.randperm(case.inputs)] // 128
    w = weight_of(case)._replace(group_index=index)
    x = torch.randn(2, case.inputs, device="cuda").bfloat16()
    assert_allowed(run(x, w), *products(x, w, None), factor=3.0)


@layouts
def test_gradients_of_x_and_bias(layout: str) -> None:
    case = Case(layout, rows=6)
    w = weight_of(case)
    x = torch.randn(2, 3, case.inputs, device="cuda", dtype=case.dtype, requires_grad=True)
    bias = torch.randn(case.outputs, device="cuda", requires_grad=True)
    y, dy = run(x, w, bias), torch.randn(2, 3, case.outputs, device="cuda").to(case.dtype)
    assert torch.equal(y, run(x.detach(), w, bias.detach()))
    for wanted in ((x, bias), (x,), (bias,)):
        ours = torch.autograd.grad(y, wanted, dy, retain_graph=True)
        wide = expanded(w, torch.float32)
        theirs = {id(x): dy.float() @ wide, id(bias): dy.float().sum((0, 1))}
        for gradient, leaf in zip(ours, wanted, strict=True):
            assert gradient.dtype == leaf.dtype
            expected = theirs[id(leaf)].to(leaf.dtype)
            most = 1e-2 * float(expected.abs().max())
            torch.testing.assert_close(gradient, expected, rtol=3e-2, atol=most)


@layouts
def test_the_operator_and_compilation(layout: str) -> None:
    case = Case(layout, rows=2)
    w, x = weight_of(case), torch.randn(2, case.inputs, device="cuda").to(case.dtype)
    opcheck(torch.ops.cudalint.quantized_linear, (x, None, *w))
    opcheck(torch.ops.cudalint.quantized_linear, (x.clone().requires_grad_(), None, *w))
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: run(x * 2, w) + 1, fullgraph=True)
    assert torch.equal(compiled(x), run(x * 2, w) + 1)


@layouts
def test_a_graph_replayed_and_a_side_stream(layout: str) -> None:
    case = Case(layout, rows=4)
    w, x = weight_of(case), torch.randn(4, case.inputs, device="cuda").to(case.dtype)
    run(x, w)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = run(x, w)
    x.copy_(torch.randn_like(x))
    graph.replay()
    expected = run(x, w)
    assert torch.equal(y, expected)
    late = torch.zeros_like(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        late.copy_(x)
        y = run(late, w)
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(y, expected)


@layouts
def test_nothing_is_written_outside_the_results(layout: str) -> None:
    case = Case(layout, rows=3, outputs=40)
    w, x = weight_of(case), torch.randn(3, case.inputs, device="cuda").to(case.dtype)
    with guarded_empty() as guards:
        registration.run_forward(x, None, *w)
    assert guards.untouched()


def test_calls_in_turn_with_other_alignments_and_dtypes() -> None:
    """A remembered variant must never be run where another is needed."""
    for layout in LAYOUTS:
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            w = weight_of(Case(layout), dtype)
            buffer = torch.randn(2 * 1024 + 8, device="cuda").to(dtype)
            for shift in (0, 1, 0, 2):
                x = buffer[shift : shift + 2048].view(2, 1024)
                assert_allowed(run(x, w), *products(x, w, None))
            x = torch.randn(3, 1027, device="cuda").to(dtype)[:, 3:]
            assert_allowed(run(x, w), *products(x, w, None))


@layouts
def test_what_is_not_finite_stays_in_its_row(layout: str) -> None:
    """gptq takes zeros off after the sum: there an infinite input may give NaN for infinity."""
    w, x = weight_of(Case(layout)), torch.randn(3, 1024, device="cuda").bfloat16()
    expected = run(x, w)
    x[1, 5], x[2, 7] = torch.nan, torch.inf
    y, exact = run(x, w), products(x, w, None)[1]
    assert torch.equal(y[0], expected[0])
    assert bool(y[1].isnan().all()) and not bool(y[2].isfinite().any())
    if not layout.startswith("gptq"):
        assert torch.equal(y[2].isposinf(), exact[2].isposinf())
        assert torch.equal(y[2].isneginf(), exact[2].isneginf())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(dtype: torch.dtype) -> None:
    w, x = weight_of(Case(), torch.float32), torch.randn(2, 1024, device="cuda")
    with torch.autocast("cuda", dtype):
        y = run(x, w)
    assert y.dtype == dtype
    assert torch.equal(y, run(x.to(dtype), w))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU here")
def test_a_second_gpu() -> None:
    w, x = weight_of(Case()), torch.randn(2, 1024, device="cuda").bfloat16()
    moved = Weight(*(t.to("cuda:1") if isinstance(t, Tensor) else t for t in w))
    assert torch.equal(run(x.to("cuda:1"), moved).cuda(0), run(x, w))


def test_weights_of_more_than_32_bits() -> None:
    """The last outputs lie beyond 2³¹ bytes."""
    outputs, inputs = 2**17 + 64, 2**14
    qweight = torch.zeros(outputs, inputs, device="cuda", dtype=torch.int8)
    qweight[-64:] = torch.randint(-127, 128, (64, inputs), device="cuda")
    scales = torch.rand(outputs, device="cuda") + 0.5
    x = torch.randn(2, inputs, device="cuda").bfloat16()
    y = int8_linear(x, qweight, scales)
    last = Weight(qweight[-64:], scales[-64:], None, None, inputs, "int8")
    assert_allowed(y[:, -64:].contiguous(), *products(x, last, None))
    assert bool((y[:, :-64] == 0).all())
