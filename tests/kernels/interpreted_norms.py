"""The kernels of cudalint/kernels/_norms in Triton's interpreter: run by test_interpreter.py.

The public functions take the kernels' way here, autograd included, as they do on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor

from cudalint.kernels import (
    ada_layer_norm,
    ada_rms_norm,
    add_layer_norm,
    add_rms_norm,
    gated_residual,
    gated_residual_ada_layer_norm,
)
from cudalint.kernels._dispatch import HALF_OR_SINGLE
from cudalint.kernels._norms import launches, layer_norm, reference, registration
from cudalint.kernels._norms.reference import Form, Operands
from cudalint.kernels._norms.registration import FusedNorm
from tests.kernels.error_law import assert_all_allowed
from tests.kernels.inputs import LAYOUTS, draw, guarded_empty, poisoned_empty, tokens
from tests.kernels.norm_calls import KINDS, NORMS, Norm, fair, form, operands

TOLERANCE = {torch.float32: 5e-6, torch.float16: 3e-3, torch.bfloat16: 2**-6}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def kernels_take_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (registration, layer_norm):
        monkeypatch.setattr(module, "kernel_runs", lambda x: x.dtype in HALF_OR_SINGLE)


def close(ours: Tensor, theirs: Tensor, *rounded: torch.dtype) -> None:
    tolerance = max(TOLERANCE[dtype] for dtype in (ours.dtype, *rounded))
    scale = (
        max(float(theirs.double().nan_to_num(0, 0, 0).abs().max()), 1.0) if theirs.numel() else 1.0
    )
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def ours(o: Operands, f: Form, dy: Tensor, dh: Tensor | None) -> list[Tensor]:
    leaves = [None if t is None else t.detach().requires_grad_() for t in o]
    y, h = FusedNorm.apply(*leaves, f)
    results = ([y], [dy]) if o.residual is None else ([y, h], [dy, dh])
    gradients = torch.autograd.grad(results[0], [t for t in leaves if t is not None], results[1])
    return [*[t.detach() for t in results[0]], *gradients]


def check(norm: Norm, x: Tensor, kind: str = "(B, 1, C)", eps: float = 1e-6) -> None:
    o, f = operands(norm, x, kind), form(norm, x.dtype, eps)
    dy = torch.randn(x.shape).to(x.dtype)
    dh = torch.randn(x.shape).to(x.dtype) if o.residual is not None else None
    before = [None if t is None else t.clone() for t in (*o, dy, dh)]
    with poisoned_empty():
        results = ours(o, f, dy, dh)
    for result, theirs in zip(results, fair(o, f, dy, dh, x.dtype), strict=True):
        assert result.shape == theirs.shape and result.dtype == theirs.dtype
        close(result, theirs)
    for tensor, copy in zip((*o, dy, dh), before, strict=True):
        assert tensor is None or torch.equal(tensor, copy)


def batched(batch: int, rows: int, cols: int, dtype: torch.dtype, **options: object) -> Tensor:
    return draw(batch * rows, cols, dtype, **options).view(batch, rows, cols)  # type: ignore[arg-type]


SHAPES = [(2, 5, 1), (1, 7, 33), (3, 4, 123), (2, 33, 40), (2, 4, 760), (1, 3, 1024), (2, 2, 1030)]
# each norm with every third shape: a covering set, no product
CASES = [
    (name, *shape, DTYPES[(i + j // 3) % 3])
    for i, name in enumerate(NORMS)
    for j, shape in enumerate(SHAPES)
    if (i + j) % 3 == 0
]
CASES += [("pair with weights", 1, 2, 4100, torch.float32), ("pair", 1, 4, 4100, torch.float16)]


@pytest.mark.parametrize(("name", "batch", "rows", "cols", "dtype"), CASES)
def test_norms(name: str, batch: int, rows: int, cols: int, dtype: torch.dtype) -> None:
    check(NORMS[name], batched(batch, rows, cols, dtype))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("name", ["ada_layer_norm", "ada_rms_norm", "pair with weights"])
def test_broadcasts(name: str, kind: str) -> None:
    check(NORMS[name], batched(2, 6, 24, torch.float32), kind)
    check(NORMS[name], batched(5, 1, 24, torch.float16), kind)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["layer_norm", "add_rms_norm", "ada_rms_norm", "pair"])
def test_layouts(name: str, layout: str) -> None:
    x = draw(5, 40, torch.float32, layout=layout)
    check(NORMS[name], x if x.dim() == 3 else x[None])


@pytest.mark.parametrize("name", ["layer_norm", "add_layer_norm"])
def test_leading_dimensions_that_do_not_merge(name: str) -> None:
    norm, x = NORMS[name], tokens(5, 24, torch.float32)
    o, f = operands(norm, x.reshape(4, 5, 24)), form(norm, x.dtype)
    o = o._replace(x=x, residual=None if o.residual is None else o.residual.view(x.shape))
    dy = tokens(5, 24, torch.float32).flip(0)
    dh = None if o.residual is None else tokens(5, 24, torch.float32)
    for result, theirs in zip(ours(o, f, dy, dh), fair(o, f, dy, dh, x.dtype), strict=True):
        close(result, theirs)


@pytest.mark.parametrize("name", list(NORMS))
def test_no_rows_and_no_columns(name: str) -> None:
    for shape in ((2, 0, 8), (2, 3, 0)):
        check(NORMS[name], torch.randn(shape))


@pytest.mark.parametrize("name", ["layer_norm", "ada_rms_norm", "add_layer_norm"])
def test_far_from_zero_by_the_error_law(name: str) -> None:
    norm, x = NORMS[name], batched(2, 3, 123, torch.float32, offset=1000.0)
    o = operands(norm, x)
    dy = torch.randn(x.shape)
    dh = None if o.residual is None else torch.randn(x.shape)
    wide_dh = None if dh is None else dh.double()
    wide = Operands(*[None if t is None else t.double() for t in o])
    results = zip(
        ours(o, form(norm, x.dtype), dy, dh),
        fair(o, form(norm, x.dtype), dy, dh, x.dtype),
        fair(wide, form(norm, torch.float64), dy.double(), wide_dh, torch.float64),
        strict=True,
    )
    assert_all_allowed([list(results)])


@pytest.mark.parametrize("name", ["layer_norm", "ada_rms_norm"])
def test_nan_and_infinities(name: str) -> None:
    x = batched(1, 4, 33, torch.float32)
    x[0, 0, 3], x[0, 1, 4], x[0, 2] = float("nan"), float("inf"), x[0, 2] * 1e22
    y, _ = launches.forward(Operands(x), form(NORMS[name], x.dtype))
    close(y, reference.fused_norm(Operands(x), form(NORMS[name], x.dtype))[0])


@pytest.mark.parametrize("name", ["ada_rms_norm", "pair with weights", "layer_norm"])
def test_rows_past_the_end_add_nothing_without_eps(name: str) -> None:
    check(NORMS[name], batched(1, 5, 48, torch.float32), eps=0.0)


def subsets() -> Iterator[tuple[bool, ...]]:
    yield from product((False, True), repeat=3)


@pytest.mark.parametrize("needs", [n for n in subsets() if any(n)])
@pytest.mark.parametrize("used", ["y", "h", "both"])
def test_each_subset_of_gradients_and_results(needs: tuple[bool, ...], used: str) -> None:
    """Of the sum's operands, of gate and of the rest; x in float16 and the residual in float32."""
    x, residual = draw(6, 24, torch.float16).view(2, 3, 24), torch.randn(2, 3, 24)
    gate, scale, weight = torch.randn(2, 24), torch.randn(2, 24), torch.randn(24)
    groups = ((x, residual), (gate,), (scale, weight))
    for tensors, need in zip(groups, needs, strict=True):
        for tensor in tensors:
            tensor.requires_grad_(need)

    def run() -> tuple[Tensor, Tensor]:
        return gated_residual_ada_layer_norm(
            residual, x, gate, scale=scale, shift=None, weight=weight, dtype=torch.float16
        )

    def gradients(results: tuple[Tensor, Tensor]) -> list[Tensor]:
        torch.manual_seed(1)
        picked = {"y": results[:1], "h": results[1:], "both": results}[used]
        leaves = [t for t in (x, residual, gate, scale, weight) if t.requires_grad]
        picked = tuple(t for t in picked if t.requires_grad)
        if not picked:
            return []
        upstream = [torch.randn(t.shape).to(t.dtype) for t in picked]
        found = torch.autograd.grad(picked, leaves, upstream, allow_unused=True)
        return [torch.zeros_like(t) if g is None else g for g, t in zip(found, leaves, strict=True)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registration, "kernel_runs", lambda x: False)
        theirs = run()
        their_gradients = gradients(theirs)
    results = run()
    for a, b in zip((*results, *gradients(results)), (*theirs, *their_gradients), strict=False):
        assert a.dtype == b.dtype
        close(a, b, torch.float16)


@pytest.mark.parametrize(("dtype", "other"), [*product(DTYPES, DTYPES)])
def test_dtypes_of_the_public_functions(dtype: torch.dtype, other: torch.dtype) -> None:
    """Through the kernels and through the reference: the same dtypes, and values but for rounding."""
    x, residual = draw(6, 24, dtype).view(2, 3, 24), draw(6, 24, other, seed=4).view(2, 3, 24)
    weight, gate = torch.randn(24).to(other), torch.randn(2, 24).to(other)
    half = torch.float16

    def run() -> list[Tensor]:
        return [
            *add_rms_norm(x, residual, weight),
            *add_rms_norm(x, residual, weight, cast="late", weight_offset=1.0),
            *add_rms_norm(x, residual, weight, residual_dtype=torch.float32),
            *add_layer_norm(x, residual, weight, residual_dtype=torch.float32),
            ada_layer_norm(x, scale=gate, shift=gate, dtype=half),
            ada_rms_norm(x, scale=gate, shift=None, weight=weight),
            gated_residual(residual, x, gate),
            gated_residual(residual, x, gate, dtype=half),
            *gated_residual_ada_layer_norm(
                residual, x, gate, scale=gate, shift=gate, residual_dtype=half
            ),
        ]

    results = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registration, "kernel_runs", lambda x: False)
        for ours, theirs in zip(results, run(), strict=True):
            assert ours.dtype == theirs.dtype
            close(ours, theirs, dtype, other, half)


@pytest.mark.parametrize(("dtype", "kind"), [*zip(DTYPES, KINDS, strict=False)])
def test_gated_residual(dtype: torch.dtype, kind: str) -> None:
    o = operands(NORMS["pair"], batched(2, 5, 40, dtype), kind)
    leaves = [t.detach().requires_grad_() for t in (o.residual, o.x, o.gate) if t is not None]
    residual, y, gate = leaves
    out = gated_residual(residual, y, gate)
    expected = (residual.double() + gate.double() * y.double()).to(dtype)
    close(out, expected)
    dout = torch.randn(out.shape).to(dtype)
    found = torch.autograd.grad(out, leaves, dout)
    for gradient, theirs in zip(found, torch.autograd.grad(expected, leaves, dout), strict=True):
        close(gradient, theirs)


def test_layer_norm_takes_the_kernel_from_some_size_on() -> None:
    x, w, b = torch.randn(40, 1024, requires_grad=True), torch.randn(1024), torch.randn(1024)
    y = layer_norm.layer_norm(x, w, b)
    assert y.grad_fn is not None and "FusedNorm" in type(y.grad_fn).__name__
    theirs = torch.nn.functional.layer_norm(x, (1024,), w, b)
    close(y, theirs)
    dy = torch.randn(y.shape)
    close(torch.autograd.grad(y, x, dy)[0], torch.autograd.grad(theirs, x, dy)[0])


@pytest.mark.parametrize("cols", [1, 33, 1100])
def test_nothing_is_written_outside_the_results(cols: int) -> None:
    x = batched(2, 5, cols, torch.float32)
    for name in ("pair with weights", "add_rms_norm"):
        for kind in ("(B, 1, C)", "(B, T, C)"):
            o = operands(NORMS[name], x, kind)
            dh = torch.randn(x.shape)
            with guarded_empty() as guards:
                ours(o, form(NORMS[name], x.dtype), x, dh)
            assert guards.untouched()


def test_rows_far_apart() -> None:
    """2³⁰ + 64 elements from row to row: a product in 32 bits would read outside the buffer."""
    stride = 2**30 + 64
    x = torch.empty(2 * stride + 33, dtype=torch.float16).as_strided(
        (1, 3, 33), (stride, stride, 1)
    )
    x.copy_(torch.randn(1, 3, 33))
    check(NORMS["pair with weights"], x)
