"""The gated units in Triton's interpreter: run by test_interpreter.py.

The interpreter truncates where bfloat16 should round, hence one more bit of tolerance there.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from cudalint.kernels._glu import launches, reference
from cudalint.kernels._glu.reference import Kind
from tests.kernels.inputs import DTYPES, LAYOUTS, draw, guarded_empty, poisoned_empty, tokens

TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2**-6}
KINDS: tuple[Kind, ...] = ("silu", "gelu", "gelu_tanh")
COLUMNS = (1, 33, 123, 1024, 4097)
SHAPES = [(3, cols, DTYPES[i % 3], "contiguous") for i, cols in enumerate(COLUMNS)]
SHAPES += [(rows, 33, torch.float32, "contiguous") for rows in (0, 1, 199)]
SHAPES += [(5, 40, DTYPES[i % 3], layout) for i, layout in enumerate(LAYOUTS)]


def close(ours: Tensor, fair: Tensor) -> None:
    tolerance = TOLERANCE[fair.dtype]
    torch.testing.assert_close(ours, fair, rtol=tolerance, atol=tolerance, equal_nan=True)


def check(gate: Tensor, up: Tensor, kind: Kind) -> None:
    """Forward and both gradients, whole and each by itself."""
    before = gate.clone(), up.clone()
    with poisoned_empty():
        y = launches.forward(gate, up, kind)
        dy = torch.randn(y.shape).to(y.dtype)
        ours = launches.backward(dy, gate, up, kind, True, True)
        dgate, nothing = launches.backward(dy, gate, up, kind, True, False)
        none, dup = launches.backward(dy, gate, up, kind, False, True)
    close(y, reference.glu(gate, up, kind))
    for mine, theirs in zip(ours, reference.glu_backward(dy, gate, up, kind), strict=True):
        close(mine, theirs)
    assert nothing.numel() == none.numel() == 0
    for mine, theirs in zip((dgate, dup), ours, strict=True):
        assert torch.equal(mine.view(torch.uint8), theirs.view(torch.uint8))
    assert torch.equal(gate, before[0])
    assert torch.equal(up, before[1])


@pytest.mark.parametrize(("rows", "cols", "dtype", "layout"), SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_glu(rows: int, cols: int, dtype: torch.dtype, layout: str, kind: Kind) -> None:
    gate = draw(rows, cols, dtype, layout=layout, scale=3.0)
    check(gate, draw(rows, cols, dtype, layout=layout, seed=1), kind)


@pytest.mark.parametrize(("gate_dtype", "up_dtype"), [*product(DTYPES, DTYPES)])
def test_glu_dtypes(gate_dtype: torch.dtype, up_dtype: torch.dtype) -> None:
    check(draw(3, 33, gate_dtype), draw(3, 33, up_dtype, seed=1), "silu")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gate_first", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "expanded"])
def test_packed(kind: Kind, gate_first: bool, layout: str) -> None:
    x = draw(5, 66, torch.float32, layout=layout)
    gate, up = reference.split(x, gate_first)
    y = launches.forward(gate, up, kind)
    close(y, reference.glu(gate, up, kind))
    dy = torch.randn(y.shape)
    with poisoned_empty():
        dx = launches.backward_packed(dy, x, gate_first, kind)
    halves = reference.split(dx, gate_first)
    for mine, theirs in zip(halves, reference.glu_backward(dy, gate, up, kind), strict=True):
        close(mine, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_infinities_and_large_numbers(kind: Kind) -> None:
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e4, -1e4, 88.0, -88.0, -0.0])
    gate, up = (t.contiguous() for t in torch.meshgrid(odd, odd, indexing="ij"))
    close(launches.forward(gate, up, kind), reference.glu(gate, up, kind))
    dy = torch.ones_like(gate)
    ours = launches.backward(dy, gate, up, kind, True, True)
    for mine, theirs in zip(ours, reference.glu_backward(dy, gate, up, kind), strict=True):
        close(mine, theirs)


def test_leading_dimensions_that_do_not_merge() -> None:
    check(tokens(5, 24, torch.float32), tokens(5, 24, torch.float32).flip(0), "silu")
    x = torch.randn(2, 3, 2, 3, 2, 8)[:, :2, :, :2].permute(3, 1, 0, 2, 4, 5)
    check(x, x.flip(0), "gelu")


def test_gradients_of_stride_zero() -> None:
    gate, up = torch.randn(4, 33), torch.randn(4, 33)
    for dy in (torch.ones(()).expand(4, 33), torch.randn(33).expand(4, 33)):
        ours = launches.backward(dy, gate, up, "silu", True, True)
        for mine, theirs in zip(ours, reference.glu_backward(dy, gate, up, "silu"), strict=True):
            close(mine, theirs)


@pytest.mark.parametrize("cols", [1, 33, 2048])
def test_nothing_is_written_outside_the_results(cols: int) -> None:
    x = torch.randn(3, 2 * cols)
    gate, up = x.chunk(2, -1)
    with guarded_empty() as guards:
        y = launches.forward(gate, up, "silu")
        launches.backward(y, gate, up, "silu", True, True)
        launches.backward_packed(y, x, True, "silu")
    assert guards.untouched()
