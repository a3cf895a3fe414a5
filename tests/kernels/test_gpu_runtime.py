"""What holds for every kernel on a GPU: launches, streams, graphs, operators, host time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import cross_entropy, log_softmax, rms_norm, softmax, swiglu
from tests.kernels.inputs import guarded_empty
from tests.kernels.row_wise import ROW_WISE

pytestmark = pytest.mark.gpu


functions = pytest.mark.parametrize("name", list(ROW_WISE))


def operands(cols: int = 256, rows: int = 8, **options: object) -> tuple[Tensor, Tensor]:
    x = torch.randn(rows, cols, device="cuda", **options)  # type: ignore[call-overload]
    return x, torch.randn(cols, device="cuda", **options)  # type: ignore[call-overload]


@functions
def test_calls_in_turn_with_other_alignments_dtypes_and_sizes_of_one(name: str) -> None:
    """A remembered variant must never be run where another is needed."""
    row = ROW_WISE[name]
    weight = torch.randn(4096, device="cuda")
    buffer = torch.randn(8 * 4096 + 8, device="cuda")
    for shift, rows, cols in ((0, 8, 4096), (1, 8, 4096), (0, 8, 4096), (0, 1, 1), (2, 1, 4096)):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            x = buffer.to(dtype)[shift : shift + rows * cols].view(rows, cols)
            w = weight.to(dtype)[:cols]
            ours, theirs = row.ours(x, w), row.torchs(x, w)
            torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-3)
    strided = buffer[: 8 * 4096].view(8, 4096)
    for x in (strided[:, :33], strided[:, 1:34], strided[:, :1], strided[:1, 3:36]):
        torch.testing.assert_close(
            row.ours(x, weight[: x.shape[1]]), row.torchs(x, weight[: x.shape[1]])
        )


@functions
def test_a_side_stream(name: str) -> None:
    row, (x, w) = ROW_WISE[name], operands(4096, 4096)
    expected = row.torchs(x, w)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        x.mul_(1.0)
        y = row.ours(x, w)
    torch.cuda.current_stream().wait_stream(stream)
    torch.testing.assert_close(y, expected)


@functions
def test_a_graph_replayed_with_new_data(name: str) -> None:
    row, (x, w) = ROW_WISE[name], operands(768)
    x.requires_grad_()

    def step() -> tuple[Tensor, Tensor]:
        y = row.ours(x, w)
        (dx,) = torch.autograd.grad(y, x, y.detach())
        return y, dx

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, dx = step()
    fresh = torch.randn_like(x)
    with torch.no_grad():
        x.copy_(fresh)
    graph.replay()
    expected, expected_dx = step()
    assert torch.equal(y, expected)
    assert torch.equal(dx, expected_dx)


@functions
def test_two_runs_are_bit_equal_and_retain_graph_works(name: str) -> None:
    row, (x, w) = ROW_WISE[name], operands(4096, 999)
    leaves = [t.requires_grad_() for t in ((x, w) if row.weighted else (x,))]
    y = row.ours(x, w)
    assert torch.equal(y, row.ours(x, w))
    dy = torch.randn_like(y)
    first = torch.autograd.grad(y, leaves, dy, retain_graph=True)
    second = torch.autograd.grad(y, leaves, dy)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@functions
def test_results_share_no_memory_with_inputs(name: str) -> None:
    x, w = operands()
    y = ROW_WISE[name].ours(x, w)
    assert y.data_ptr() not in (x.data_ptr(), w.data_ptr())


@functions
@pytest.mark.parametrize("cols", [1, 33, 760, 4096, 65537])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_is_written_outside_the_results(name: str, cols: int, dtype: torch.dtype) -> None:
    if name in ("rope", "cross_entropy") and cols == 1:
        pytest.skip("there is no pair to turn, and one class has no loss: the reference runs")
    row, (x, w) = ROW_WISE[name], operands(cols, 3, dtype=dtype)
    leaves = [t.requires_grad_() for t in ((x, w) if row.weighted else (x,))]
    with guarded_empty() as guards:
        y = row.ours(x, w)
        gradients = torch.autograd.grad(y, leaves, y.detach())
    assert guards.untouched()
    assert all(bool(t.isfinite().all()) for t in (y, *gradients))


@functions
def test_double_backward_raises(name: str) -> None:
    x, w = operands()
    x.requires_grad_()
    y = ROW_WISE[name].ours(x, w)
    (dx,) = torch.autograd.grad(y.pow(2).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        dx.sum().backward()


def test_double_backward_of_the_operators_raises() -> None:
    x, w = operands()
    x.requires_grad_()
    for y in (
        torch.ops.cudalint.softmax(x, torch.float32, False),
        torch.ops.cudalint.rms_norm(x, w, 1e-6, False, 0.0),
    ):
        (dx,) = torch.autograd.grad(y.pow(2).sum(), x, create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivative"):
            dx.sum().backward()


def test_double_backward_works_in_float64() -> None:
    x = torch.randn(2, 5, device="cuda", dtype=torch.float64, requires_grad=True)
    w = torch.randn(5, device="cuda", dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: softmax(x), (x,))
    assert torch.autograd.gradgradcheck(lambda x, w: rms_norm(x, w), (x, w))


@pytest.mark.parametrize("log", [False, True])
def test_opcheck_softmax(log: bool) -> None:
    x, _ = operands(requires_grad=True)
    opcheck(torch.ops.cudalint.softmax, (x, torch.bfloat16, log))
    y = torch.ops.cudalint.softmax(x, torch.float32, log).detach()
    opcheck(torch.ops.cudalint.softmax_backward, (x.detach(), y, torch.float32, log))


@pytest.mark.parametrize("late", [False, True])
def test_opcheck_rms_norm(late: bool) -> None:
    x, w = operands(requires_grad=True)
    opcheck(torch.ops.cudalint.rms_norm, (x, w, 1e-6, late, 0.0))
    opcheck(torch.ops.cudalint.rms_norm, (x.detach().half(), w, 1e-6, late, 0.0))
    x, w = x.detach(), w.detach()
    for flags in ((True, True), (True, False), (False, True)):
        opcheck(torch.ops.cudalint.rms_norm_backward, (x, x, w, 1e-6, late, 0.0, *flags))


@functions
def test_operator_and_fast_path_are_one(name: str) -> None:
    """A subclass goes through the dispatcher; what it computes is the same, bit for bit."""
    row, (x, w) = ROW_WISE[name], operands(760)
    x.requires_grad_()
    fast = row.ours(x, w)
    operator = row.operator(x, w)
    assert torch.equal(fast, operator)
    dy = torch.randn_like(fast)
    assert torch.equal(torch.autograd.grad(fast, x, dy)[0], torch.autograd.grad(operator, x, dy)[0])


@functions
def test_vmap_is_a_loop(name: str) -> None:
    row, w = ROW_WISE[name], torch.randn(64, device="cuda")
    x = torch.randn(3, 5, 64, device="cuda")
    batched = torch.func.vmap(lambda part: row.ours(part, w))(x)
    assert torch.equal(batched, torch.stack([row.ours(part, w) for part in x]))


@functions
def test_gradients_under_function_transforms(name: str) -> None:
    row, w = ROW_WISE[name], torch.randn(64, device="cuda")
    x = torch.randn(3, 5, 64, device="cuda")
    ours, theirs = (
        torch.func.vmap(torch.func.grad(lambda x, f=function: f(x, w).pow(3).sum()))(x)
        for function in (row.ours, row.torchs)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@functions
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cols", [512, 2048])
def test_compiled(name: str, dynamic: bool, cols: int) -> None:
    torch._dynamo.reset()
    row, (x, w) = ROW_WISE[name], operands(cols)
    x.requires_grad_()
    compiled = torch.compile(
        lambda x, w: row.ours(x * 2.0, w) + 1.0, fullgraph=True, dynamic=dynamic
    )
    y, expected = compiled(x, w), row.torchs(x * 2.0, w) + 1.0
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(y)
    torch.testing.assert_close(
        torch.autograd.grad(y, x, dy)[0], torch.autograd.grad(expected, x, dy)[0]
    )


@pytest.mark.parametrize("amp", [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_under_autocast_are_those_of_the_hand_written_form(
    amp: torch.dtype | None, dtype: torch.dtype
) -> None:
    x, w = operands(dtype=dtype)
    with torch.autocast("cuda", amp or torch.float16, enabled=amp is not None):
        e = torch.exp(x - x.amax(-1, keepdim=True))
        by_hand = e / e.sum(-1, keepdim=True)
        assert softmax(x).dtype == by_hand.dtype == torch.softmax(x, -1).dtype
        assert log_softmax(x).dtype == torch.log_softmax(x, -1).dtype
        wide = x.float() if dtype != torch.float64 else x
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        assert rms_norm(x, w).dtype == (w * normed.to(x.dtype)).dtype
        assert rms_norm(x, w, cast="late").dtype == (normed * w.to(wide.dtype)).type_as(x).dtype


@functions
def test_the_second_gpu(name: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device here")
    row, (x, w) = ROW_WISE[name], operands(1024)
    far_x, far_w = x.to("cuda:1").requires_grad_(), w.to("cuda:1")
    assert torch.cuda.current_device() == 0
    y = row.ours(far_x, far_w)
    torch.testing.assert_close(y.cpu(), row.torchs(x, w).cpu())
    y.sum().backward()
    assert far_x.grad is not None and far_x.grad.device.index == 1
    assert torch.cuda.current_device() == 0


def host_time(call: Callable[[], object]) -> float:
    """Seconds of the host for 1,000 calls in a row, the best of five."""
    for _ in range(20):
        call()
    times = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(1000):
            call()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.host_time
@pytest.mark.parametrize(("gradient", "most"), [(False, 2.0), (True, 2.5)])
@pytest.mark.parametrize("name", ["rms_norm", "rms_norm late", "swiglu", "cross_entropy"])
def test_host_time(gradient: bool, most: float, name: str) -> None:
    x, w = operands(rows=1, requires_grad=gradient)
    logits, target = x.detach().view(4, 64).requires_grad_(gradient), torch.arange(4, device="cuda")
    torchs, ours = {
        "rms_norm": (lambda: F.rms_norm(x, (256,), w, 1e-6), lambda: rms_norm(x, w)),
        "rms_norm late": (
            lambda: F.rms_norm(x, (256,), w, 1e-6), lambda: rms_norm(x, w, cast="late")
        ),
        "swiglu": (lambda: F.silu(x) * x, lambda: swiglu(x, x)),
        "cross_entropy": (
            lambda: F.cross_entropy(logits, target), lambda: cross_entropy(logits, target)
        ),
    }[name]  # fmt: skip
    theirs, mine = host_time(torchs), host_time(ours)
    print(f"host time of 1,000 calls: ours {mine * 1e3:.2f} ms, torch's {theirs * 1e3:.2f} ms")
    assert mine <= most * theirs
