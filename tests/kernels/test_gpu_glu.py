"""The gated units on a GPU: the error law, the odd values, the odd layouts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import geglu, geglu_packed, swiglu, swiglu_packed
from cudalint.kernels._glu import reference
from cudalint.kernels._glu.reference import Kind
from tests.kernels.error_law import assert_all_allowed, draws
from tests.kernels.inputs import DTYPES, Case, covering_cases, draw, guarded_empty, poisoned_empty

pytestmark = pytest.mark.gpu

GLU: dict[Kind, Callable[[Tensor, Tensor], Tensor]] = {
    "silu": swiglu,
    "gelu": geglu,
    "gelu_tanh": lambda gate, up: geglu(gate, up, approximate="tanh"),
}
PACKED: dict[Kind, Callable[..., Tensor]] = {
    "silu": swiglu_packed,
    "gelu": geglu_packed,
    "gelu_tanh": lambda x, **o: geglu_packed(x, approximate="tanh", **o),
}
kinds = pytest.mark.parametrize("kind", list(GLU))

Results = list[tuple[Tensor, Tensor, Tensor]]


def in_dtype(
    gate: Tensor, up: Tensor, dy: Tensor, kind: Kind, wide: torch.dtype
) -> tuple[Tensor, ...]:
    """Forward and gradients computed in `wide`, rounded once to the dtypes of the call."""
    leaves = [t.detach().to(wide).requires_grad_() for t in (gate, up)]
    y = reference.glu(*leaves, kind)
    results = (y.detach(), *torch.autograd.grad(y, leaves, dy.to(wide)))
    if wide == torch.float64:
        return results
    return tuple(t.to(u.dtype) for t, u in zip(results, (dy, gate, up), strict=True))


def check(gate: Tensor, up: Tensor, kind: Kind) -> Results:
    """(ours, fair, exact) of the result and of both gradients."""
    leaves = [t.detach().requires_grad_() for t in (gate, up)]
    with poisoned_empty():
        y = GLU[kind](*leaves)
        dy = torch.randn(y.shape, device="cuda").to(y.dtype)
        before = [t.clone() for t in (gate, up, dy)]
        ours = (y.detach(), *torch.autograd.grad(y, leaves, dy, retain_graph=True))
        again = torch.autograd.grad(y, leaves, dy)
    assert all(torch.equal(a, b) for a, b in zip(ours[1:], again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip((gate, up, dy), before, strict=True))
    fair = in_dtype(gate, up, dy, kind, torch.float32)
    exact = in_dtype(gate, up, dy, kind, torch.float64)
    return list(zip(ours, fair, exact, strict=True))


@pytest.mark.parametrize(
    ("case", "kind"),
    [(case, tuple(GLU)[i % 3]) for i, case in enumerate(covering_cases(3))],
    ids=str,
)
def test_glu(case: Case, kind: Kind) -> None:
    rows, cols, dtype, layout = case
    options = {"layout": layout, "device": "cuda", "scale": 2.0}
    assert_all_allowed(
        [
            check(
                draw(rows, cols, dtype, seed=seed, **options),
                draw(rows, cols, dtype, seed=seed + 1000, **options),
                kind,
            )
            for seed in draws(rows, cols)
        ]
    )


@pytest.mark.parametrize(("gate_dtype", "up_dtype"), [*product(DTYPES, DTYPES)])
def test_glu_dtypes(gate_dtype: torch.dtype, up_dtype: torch.dtype) -> None:
    gate, up = (
        draw(33, 760, dtype, device="cuda", seed=i)
        for i, dtype in enumerate((gate_dtype, up_dtype))
    )
    assert GLU["silu"](gate, up).dtype == (F.silu(gate) * up).dtype
    assert_all_allowed([check(gate, up, "silu")])


@kinds
@pytest.mark.parametrize("gate_first", [False, True])
@pytest.mark.parametrize(("cols", "dtype"), [(66, torch.float32), (22016, torch.bfloat16)])
def test_glu_packed_is_the_halves(
    kind: Kind, gate_first: bool, cols: int, dtype: torch.dtype
) -> None:
    x = draw(33, cols, dtype, device="cuda").requires_grad_()
    gate, up = reference.split(x, gate_first)
    y, expected = PACKED[kind](x, gate_first=gate_first), GLU[kind](gate, up)
    assert torch.equal(y, expected)
    dy = torch.randn_like(y)
    with guarded_empty() as guards:
        (dx,) = torch.autograd.grad(y, x, dy)
    assert guards.untouched()
    assert torch.equal(dx, torch.autograd.grad(expected, x, dy)[0])


@kinds
def test_glu_of_nan_and_infinities_is_torchs(kind: Kind) -> None:
    # not −88: where e^−88, below the normal numbers, is flushed to 0, times ∞ is NaN
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e4, -1e4, 80.0, -80.0, -0.0])
    grid = torch.meshgrid(odd, odd, indexing="ij")
    gate, up = (t.contiguous().cuda().requires_grad_() for t in grid)
    act = F.silu if kind == "silu" else lambda g: F.gelu(
        g, approximate="none" if kind == "gelu" else "tanh"
    )  # fmt: skip
    ours, theirs = GLU[kind](gate, up), act(gate) * up
    torch.testing.assert_close(ours, theirs, equal_nan=True)
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), (gate, up)), torch.autograd.grad(theirs.sum(), (gate, up)),
        equal_nan=True,
    )  # fmt: skip


def test_glu_frozen_operands_and_unequal_shapes() -> None:
    gate, up = (torch.randn(8, 64, device="cuda") for _ in range(2))
    both = torch.autograd.grad(swiglu(gate.requires_grad_(), up.requires_grad_()).sum(), (gate, up))
    (dgate,) = torch.autograd.grad(swiglu(gate, up.detach()).sum(), gate)
    (dup,) = torch.autograd.grad(swiglu(gate.detach(), up).sum(), up)
    assert torch.equal(dgate, both[0])
    assert torch.equal(dup, both[1])
    row = torch.randn(64, device="cuda", requires_grad=True)
    ours, theirs = swiglu(gate, row), F.silu(gate) * row
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), (gate, row)), torch.autograd.grad(theirs.sum(), (gate, row))
    )


@kinds
def test_glu_opcheck(kind: Kind) -> None:
    gate, up = (torch.randn(4, 64, device="cuda", requires_grad=True) for _ in range(2))
    opcheck(torch.ops.cudalint.glu, (gate, up, kind))
    opcheck(torch.ops.cudalint.glu_packed, (gate, True, kind))
    gate, up = gate.detach(), up.detach()
    for flags in ((True, True), (True, False), (False, True)):
        opcheck(torch.ops.cudalint.glu_backward, (up, gate, up, kind, *flags))
    opcheck(torch.ops.cudalint.glu_packed_backward, (up[:, :32], gate, True, kind))


def test_glu_packed_under_transforms_and_as_operator() -> None:
    x = torch.randn(3, 8, 64, device="cuda")
    loop = torch.stack([swiglu_packed(part) for part in x])
    assert torch.equal(torch.func.vmap(swiglu_packed)(x), loop)
    assert torch.equal(torch.ops.cudalint.glu_packed(x, True, "silu"), loop)
    dx = torch.func.grad(lambda x: swiglu_packed(x).pow(2).sum())(x)
    leaf = x.requires_grad_()
    assert torch.equal(dx, torch.autograd.grad(swiglu_packed(leaf).pow(2).sum(), leaf)[0])


@pytest.mark.parametrize("amp", [torch.float16, torch.bfloat16])
def test_glu_dtypes_under_autocast_are_those_of_the_form_by_hand(amp: torch.dtype) -> None:
    for gate_dtype, up_dtype in product((*DTYPES, torch.float64), repeat=2):
        gate = torch.randn(4, 8, device="cuda").to(gate_dtype)
        up = torch.randn(4, 8, device="cuda").to(up_dtype)
        with torch.autocast("cuda", amp):
            assert swiglu(gate, up).dtype == (F.silu(gate) * up).dtype
            assert geglu(gate, up).dtype == (F.gelu(gate) * up).dtype


def test_glu_of_more_than_2_to_the_31_elements() -> None:
    cols = 4096
    rows = 2**31 // cols + 3
    gate = torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    up = gate.detach()
    y = swiglu(gate, up)
    picked = [0, 1, rows - 4, rows - 3, rows - 1]
    fair = reference.glu(gate.detach()[picked], up[picked], "silu")
    torch.testing.assert_close(y[picked], fair)
    (dgate,) = torch.autograd.grad(y, gate, up)
    expected, _ = reference.glu_backward(up[picked], gate.detach()[picked], up[picked], "silu")
    torch.testing.assert_close(dgate[picked], expected)
