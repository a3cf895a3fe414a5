"""layer_norm, the norms after a sum and the adaptive norms on a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import (
    ada_layer_norm,
    ada_rms_norm,
    add_layer_norm,
    add_rms_norm,
    gated_residual,
    gated_residual_ada_layer_norm,
    layer_norm,
    rms_norm,
)
from cudalint.kernels._norms.reference import Operands, fused_norm
from cudalint.kernels._norms.registration import FusedNorm, run_forward
from tests.kernels.error_law import assert_all_allowed, draws
from tests.kernels.inputs import DTYPES, LAYOUTS, draw, guarded_empty, poisoned_empty, tokens
from tests.kernels.norm_calls import KINDS, NORMS, Norm, fair, form, operands

pytestmark = pytest.mark.gpu

Results = list[tuple[Tensor, Tensor, Tensor]]


def check(
    norm: Norm, x: Tensor, kind: str = "(B, 1, C)", seed: int = 0, eps: float = 1e-6
) -> Results:
    """(ours, fair, exact) of the results and of each gradient."""
    o, f = operands(norm, x, kind, seed), form(norm, x.dtype, eps)
    dy, dh = (torch.randn(x.shape, device="cuda").to(x.dtype) for _ in range(2))
    before = [t.clone() for t in (*o, dy, dh) if t is not None]
    leaves = [None if t is None else t.detach().requires_grad_() for t in o]
    with poisoned_empty():
        y, h = FusedNorm.apply(*leaves, f)
        results = [y] if o.residual is None else [y, h]
        inputs = [t for t in leaves if t is not None]
        gradients = torch.autograd.grad(results, inputs, [dy, dh][: len(results)])
    for tensor, copy in zip([t for t in (*o, dy, dh) if t is not None], before, strict=True):
        assert torch.equal(tensor, copy)
    used = None if o.residual is None else dh
    wide = Operands(*[None if t is None else t.double() for t in o])
    exact = fair(
        wide, form(norm, torch.float64, eps), dy.double(), None if used is None else dh.double(),
        torch.float64,
    )  # fmt: skip
    ours = [*[t.detach() for t in results], *gradients]
    return list(zip(ours, fair(o, f, dy, used, x.dtype), exact, strict=True))


def cube(batch: int, rows: int, cols: int, dtype: torch.dtype, **options: Any) -> Tensor:
    x = draw(batch * rows, cols, dtype, device="cuda", **options)
    return x.view(batch, rows, cols)


# (batch, rows, columns): each with each dtype once, the norms in turn
SHAPES = ((2, 199, 1), (1, 3, 33), (3, 57, 123), (2, 70, 760), (1, 199, 1023), (2, 33, 1024),
          (2, 19, 1152), (1, 300, 3072), (2, 7, 4096), (1, 5, 5120), (1, 9, 8192))  # fmt: skip
CASES = [(name, *shape, dtype) for i, (dtype, shape) in enumerate(itertools.product(DTYPES, SHAPES))
         for j, name in enumerate(NORMS) if (i + j) % 2 == 0]  # fmt: skip


@pytest.mark.parametrize(("name", "batch", "rows", "cols", "dtype"), CASES)
def test_the_error_law(name: str, batch: int, rows: int, cols: int, dtype: torch.dtype) -> None:
    assert_all_allowed([
        check(NORMS[name], cube(batch, rows, cols, dtype, seed=seed), seed=seed)
        for seed in draws(batch * rows, cols)
    ])  # fmt: skip


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "shape", [(2, 100, 1152), (70, 1, 64), (600, 8, 96), (3, 2, 3072)], ids=str
)
@pytest.mark.parametrize("name", ["ada_layer_norm", "ada_rms_norm", "pair with weights"])
def test_broadcasts(name: str, shape: tuple[int, int, int], kind: str) -> None:
    runs = [check(NORMS[name], cube(*shape, torch.bfloat16, seed=s), kind, s) for s in range(4)]
    assert_all_allowed(runs)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", list(NORMS))
def test_layouts(name: str, layout: str) -> None:
    x = draw(57, 760, torch.float16, layout=layout, device="cuda")
    assert_all_allowed([check(NORMS[name], x if x.dim() == 3 else x[None])])


@pytest.mark.parametrize("name", list(NORMS))
def test_far_from_zero(name: str) -> None:
    runs = [
        check(NORMS[name], cube(2, 30, 760, torch.float32, seed=s, offset=1000.0), seed=s, eps=1e-5)
        for s in range(4)
    ]
    assert_all_allowed(runs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_leading_dimensions_that_do_not_merge(dtype: torch.dtype) -> None:
    x, residual = tokens(700, 128, dtype, "cuda"), tokens(700, 128, dtype, "cuda").flip(0)
    torch.testing.assert_close(layer_norm(x), F.layer_norm(x, (128,)))
    y, h = add_layer_norm(x, residual)
    torch.testing.assert_close(h, x + residual)
    torch.testing.assert_close(y, F.layer_norm(h, (128,)))


@pytest.mark.parametrize("name", ["layer_norm", "ada_rms_norm"])
@pytest.mark.parametrize("cols", [33, 4096])
def test_nan_and_infinities(name: str, cols: int) -> None:
    """As in the reference: torch's own norms differ among themselves in what an infinity leaves."""
    x, f = cube(1, 8, cols, torch.float32), form(NORMS[name], torch.float32)
    x[0, 0, 3], x[0, 1, 4], x[0, 2] = float("nan"), float("inf"), x[0, 2] * 1e22
    y, _ = run_forward(*Operands(x), *f)
    torch.testing.assert_close(y, fused_norm(Operands(x), f)[0], equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sum_is_torchs_and_the_norm_is_ours(dtype: torch.dtype) -> None:
    x, residual = cube(2, 50, 2048, dtype), cube(2, 50, 2048, dtype, seed=1)
    weight = torch.randn(2048, device="cuda", dtype=dtype)
    for cast in ("llama", "late"):
        y, h = add_rms_norm(x, residual, weight, cast=cast)  # type: ignore[arg-type]
        assert torch.equal(h, x + residual)
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(y, rms_norm(h, weight, cast=cast), rtol=4 * eps, atol=0)  # type: ignore[arg-type]
    long = [torch.randn(3, 16384, device="cuda", dtype=dtype) for _ in range(2)]
    y, h = add_rms_norm(*long)
    assert torch.equal(h, long[0] + long[1]) and torch.equal(y, rms_norm(h))


def gated(
    residual: Tensor, y: Tensor, gate: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    return gated_residual_ada_layer_norm(residual, y, gate, scale=scale, shift=shift)


def functions() -> dict[str, tuple[Callable[..., Any], list[Tensor]]]:
    """Each public function and what it takes, large enough for the kernels."""

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, device="cuda", requires_grad=True)

    x, residual = leaf(2, 300, 256), leaf(2, 300, 256)
    w, b, gate, scale, shift = leaf(256), leaf(256), leaf(2, 256), leaf(2, 1, 256), leaf(2, 256)
    return {
        "layer_norm": (layer_norm, [x, w, b]),
        "add_rms_norm": (add_rms_norm, [x, residual, w]),
        "add_layer_norm": (add_layer_norm, [x, residual, w, b]),
        "ada_layer_norm": (lambda x, s, t: ada_layer_norm(x, scale=s, shift=t), [x, scale, shift]),
        "ada_rms_norm": (
            lambda x, s, w: ada_rms_norm(x, scale=s, shift=None, weight=w), [x, scale, w],
        ),
        "gated_residual": (gated_residual, [residual, x, gate]),
        "gated_residual_ada_layer_norm": (gated, [residual, x, gate, scale, shift]),
    }  # fmt: skip


NAMES = (
    "layer_norm", "add_rms_norm", "add_layer_norm", "ada_layer_norm", "ada_rms_norm",
    "gated_residual", "gated_residual_ada_layer_norm",
)  # fmt: skip
each = pytest.mark.parametrize("name", NAMES)


def results_and_gradients(
    function: Callable[..., Any], leaves: list[Tensor], twice: bool = False
) -> list[Tensor]:
    torch.manual_seed(5)
    results = function(*leaves)
    results = list(results) if isinstance(results, tuple) else [results]
    upstream = [torch.randn(t.shape, device=t.device).to(t.dtype) for t in results]
    wanted = [t for t in leaves if t.requires_grad]
    found = torch.autograd.grad(results, wanted, upstream, retain_graph=twice)
    if twice:
        again = torch.autograd.grad(results, wanted, upstream)
        assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    return [*[t.detach() for t in results], *found]


@each
def test_kernel_and_reference_agree_and_two_runs_are_bit_equal(name: str) -> None:
    function, leaves = functions()[name]
    ours = results_and_gradients(function, leaves, twice=True)
    again = results_and_gradients(function, leaves)
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
    wide = [t.detach().double().requires_grad_() for t in leaves]
    for a, b in zip(ours, results_and_gradients(function, wide), strict=True):
        torch.testing.assert_close(a, b.float(), rtol=1e-4, atol=1e-4)
    pointers = {t.data_ptr() for t in leaves}
    assert not pointers & {t.data_ptr() for t in ours}


@each
def test_double_backward_raises_and_works_in_float64(name: str) -> None:
    function, leaves = functions()[name]
    results = function(*leaves)
    y = results[0] if isinstance(results, tuple) else results
    (dx,) = torch.autograd.grad(y.pow(2).sum(), leaves[1], create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        dx.sum().backward()
    small = [t.detach()[..., :2, :4].double() if t.dim() > 2 else t.detach()[..., :4].double()
             for t in leaves]  # fmt: skip
    assert torch.autograd.gradgradcheck(function, [t.requires_grad_() for t in small])


@each
def test_a_graph_replayed_with_new_data(name: str) -> None:
    function, leaves = functions()[name]
    upstream = [torch.randn_like(leaves[0]) for _ in range(2)]

    def step() -> list[Tensor]:
        results = function(*leaves)
        results = list(results) if isinstance(results, tuple) else [results]
        found = torch.autograd.grad(results, leaves, upstream[: len(results)])
        return [*results, *found]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        for leaf in leaves:
            leaf.copy_(torch.randn_like(leaf))
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))


@each
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled(name: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    function, leaves = functions()[name]
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic)
    expected = results_and_gradients(function, leaves)
    for a, b in zip(results_and_gradients(compiled, leaves), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["table", "one sample", "samples", "table and samples"])
def test_compiled_gradients_of_chained_modulated_norms(kind: str) -> None:
    """inductor loses sums over all rows that a chunk's gradient is joined of (torch 2.10, 2.11)."""
    torch._dynamo.reset()
    batch, cols = 1 if kind == "one sample" else 2, 1024
    x = torch.randn(batch, 8192, cols, device="cuda", requires_grad=True)
    table = torch.randn(1, 6, cols, device="cuda", requires_grad=True)
    samples = torch.randn(batch, 6, cols, device="cuda", requires_grad=True)

    def program() -> Tensor:
        modulation = {"table": table, "table and samples": table + samples}.get(kind, samples)
        shift, scale, gate, shift_2, scale_2, gate_2 = modulation.chunk(6, dim=1)
        y = torch.tanh(ada_layer_norm(x, scale=scale, shift=shift))
        y, h = gated_residual_ada_layer_norm(x, y, gate, scale=scale_2, shift=shift_2)
        return gated_residual(h, torch.tanh(y), gate_2)

    named = {"table": table, "sample": samples}
    leaves = [x, *[leaf for name, leaf in named.items() if name in kind]]
    dy = torch.randn_like(x)
    expected = torch.autograd.grad(program(), leaves, dy)
    compiled = torch.compile(program, fullgraph=True)
    for _ in range(2):
        found = torch.autograd.grad(compiled(), leaves, dy)
        for a, b in zip(found, expected, strict=True):
            assert float((a - b).norm()) <= 1e-4 * float(b.norm())


@each
def test_vmap_is_a_loop(name: str) -> None:
    function, leaves = functions()[name]
    inputs = [torch.stack([t.detach(), t.detach() * 2]) for t in leaves]
    batched = torch.func.vmap(function)(*inputs)
    for i in range(2):
        one = function(*[t[i] for t in inputs])
        for a, b in zip(batched, one, strict=True) if isinstance(one, tuple) else [(batched, one)]:
            torch.testing.assert_close(a[i], b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cols", [1, 33, 760, 4096, 8192])
@pytest.mark.parametrize("kind", ["(B, 1, C)", "(B, T, C)"])
def test_nothing_is_written_outside_the_results(cols: int, kind: str) -> None:
    for name in ("pair", "add_rms_norm", "layer_norm"):
        x = cube(2, 5, cols, torch.bfloat16)
        o = operands(NORMS[name], x, kind)
        leaves = [None if t is None else t.detach().requires_grad_() for t in o]
        with guarded_empty() as guards:
            y, h = FusedNorm.apply(*leaves, form(NORMS[name], x.dtype))
            results = [y] if o.residual is None else [y, h]
            inputs = [t for t in leaves if t is not None]
            found = torch.autograd.grad(results, inputs, [x, x][: len(results)])
        assert guards.untouched()
        assert all(bool(t.isfinite().all()) for t in (*results, *found))


def test_opcheck() -> None:
    x = cube(2, 8, 64, torch.float32)
    for parts, kind in (("wb", "(B, 1, C)"), ("rgst", "(B, 1, C)"), ("rgst", "(B, T, C)")):
        norm = Norm(parts, True)
        o = [None if t is None else t.detach().requires_grad_() for t in operands(norm, x, kind)]
        opcheck(torch.ops.cudalint.fused_norm, (*o, *form(norm, torch.bfloat16)))
    o = operands(NORMS["pair"], x)
    opcheck(torch.ops.cudalint.gated_residual, (o.residual, x, o.gate, torch.bfloat16))


AMP = [None, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("amp", AMP)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("rows", [3, 300])
def test_dtypes_under_autocast_are_those_of_the_hand_written_form(
    amp: torch.dtype | None, dtype: torch.dtype, rows: int
) -> None:
    x, s = torch.randn(2, rows, 256, device="cuda").to(dtype), torch.randn(2, 1, 256, device="cuda")
    s = s.to(dtype)
    with torch.autocast("cuda", amp or torch.float16, enabled=amp is not None):
        theirs = F.layer_norm(x, (256,))
        assert layer_norm(x).dtype == theirs.dtype
        assert layer_norm(x, s[0, 0].double()).dtype == theirs.dtype
        assert ada_layer_norm(x, scale=s, shift=s).dtype == (theirs * (1 + s) + s).dtype
        assert [t.dtype for t in add_layer_norm(x, x)] == [theirs.dtype, (x + x).dtype]
        assert gated_residual(x, x, s).dtype == (x + s * x).dtype
        wide = x.float() if dtype != torch.float64 else x
        normed = (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(dtype)
        assert ada_rms_norm(x, scale=s, shift=s).dtype == (normed * (1 + s) + s).dtype
        assert [t.dtype for t in add_rms_norm(x, x)] == [normed.dtype, (x + x).dtype]


def test_more_than_2_to_the_31_elements() -> None:
    cols = 4096
    rows = 2**31 // cols + 3
    x = torch.randn(1, rows, cols, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    scale = torch.randn(1, cols, device="cuda", dtype=torch.bfloat16)
    y = ada_layer_norm(x, scale=scale, shift=scale)
    picked = [0, 1, rows - 4, rows - 3, rows - 1]
    part = x.detach()[:, picked].requires_grad_()
    expected = ada_layer_norm(part.double(), scale=scale, shift=scale, dtype=x.dtype)
    torch.testing.assert_close(y.detach()[:, picked], expected)
    dy = torch.randn(1, 1, cols, device="cuda", dtype=x.dtype)
    (dx,) = torch.autograd.grad(y, x, dy.expand(1, rows, cols))
    (expected_dx,) = torch.autograd.grad(expected, part, dy.expand(1, 5, cols))
    torch.testing.assert_close(dx[:, picked], expected_dx)


def test_the_second_gpu() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device here")
    for function, leaves in functions().values():
        far = [t.detach().to("cuda:1").requires_grad_() for t in leaves]
        near, there = results_and_gradients(function, leaves), results_and_gradients(function, far)
        assert len(near) == len(there) and all(t.device.index == 1 for t in there)
    assert torch.cuda.current_device() == 0
