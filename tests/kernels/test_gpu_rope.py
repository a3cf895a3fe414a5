"""Rotary embeddings on a GPU: the error law, layouts of tokens and tables, both of a pair."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import apply_rope, rope
from cudalint.kernels._rope import reference
from cudalint.kernels._rope.reference import Form
from tests.kernels.error_law import assert_all_allowed
from tests.kernels.inputs import DTYPES, poisoned_empty

pytestmark = pytest.mark.gpu

FORMS = [Form(*flags) for flags in product((False, True), repeat=2)]
forms = pytest.mark.parametrize("form", FORMS, ids=str)
WIDTHS = [(40, 40), (64, 64), (80, 32), (96, 96), (128, 128), (256, 64), (2, 2), (7, 4)]


def options(form: Form) -> dict[str, Any]:
    return {
        "layout": "interleaved" if form.interleaved else "half",
        "table": "half" if form.half_table else "full",
    }


def tables(length: int, rotary: int, form: Form, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin of random angles, unequal in the halves of a full table."""
    angles = torch.randn(length, rotary // 2 if form.half_table else rotary, device="cuda")
    return angles.cos().to(dtype), angles.sin().to(dtype)


def turned(
    x: Tensor, cos: Tensor, sin: Tensor, dy: Tensor, form: Form, wide: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Forward and gradient computed in `wide`."""
    leaf = x.detach().to(wide).requires_grad_()
    y = reference.rope(leaf, cos.to(wide), sin.to(wide), form, wide)
    return y.detach(), torch.autograd.grad(y, leaf, dy.to(wide))[0]


def check(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, form: Form, dtype: torch.dtype | None = None
) -> None:
    leaves = [t.detach().requires_grad_() for t in (q, k)]
    before = [t.clone() for t in (q, k, cos, sin)]
    with poisoned_empty():
        ys = apply_rope(*leaves, cos, sin, **options(form), dtype=dtype)
        dys = [torch.randn_like(y) for y in ys]
        dxs = torch.autograd.grad(ys, leaves, dys, retain_graph=True)
        again = torch.autograd.grad(ys, leaves, dys)
    assert all(torch.equal(a, b) for a, b in zip(dxs, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip((q, k, cos, sin), before, strict=True))
    for x, y, dy, dx in zip((q, k), ys, dys, dxs, strict=True):
        assert y.dtype == reference.result_dtype(x, cos, dtype)
        exact = turned(x, cos, sin, dy, form, torch.float64)
        fair = turned(x, cos, sin, dy, form, torch.float32)
        results = ((y.detach(), fair[0].to(y.dtype), exact[0]), (dx, fair[1].to(x.dtype), exact[1]))
        assert_all_allowed([list(results)])


@forms
@pytest.mark.parametrize(("width", "rotary"), WIDTHS)
def test_rope(form: Form, width: int, rotary: int) -> None:
    dtype = DTYPES[(width + form.interleaved) % 3]
    q = torch.randn(2, 199, 4, width, device="cuda").to(dtype).transpose(1, 2)
    k = torch.randn(2, 2, 199, width, device="cuda").to(dtype)
    check(q, k, *tables(199, rotary, form, dtype), form)


@pytest.mark.parametrize(("x_dtype", "table_dtype"), [*product(DTYPES, DTYPES)])
def test_rope_dtypes(x_dtype: torch.dtype, table_dtype: torch.dtype) -> None:
    x = torch.randn(3, 33, 64, device="cuda").to(x_dtype)
    check(x, x[:1], *tables(33, 64, FORMS[0], table_dtype), FORMS[0])
    check(x, x[:1], *tables(33, 64, FORMS[0], table_dtype), FORMS[0], dtype=x_dtype)


@forms
def test_rope_layouts(form: Form) -> None:
    packed = torch.randn(2, 33, 3 * 4 * 64, device="cuda")
    q, k, _ = (t.unflatten(-1, (4, 64)) for t in packed.chunk(3, dim=-1))
    cos, sin = (t[None, :, None] for t in tables(33, 64, form, torch.float32))
    check(q, k, cos, sin, form)
    check(q.transpose(1, 2), k.transpose(1, 2), cos.transpose(1, 2), sin.transpose(1, 2), form)
    check(q, k, cos.expand(2, 33, 1, -1), sin.expand(2, 33, 1, -1), form)
    check(q[..., 1:], k[:, :, :1], cos[..., :8], sin[..., :8], form)
    check(q.transpose(-1, -2), k, cos[:, :1, :, :2], sin[:, :1, :, :2], form)
    spread = torch.view_as_real(torch.randn(*cos.shape, device="cuda", dtype=torch.complex64))
    check(q, k, spread[..., 0], spread[..., 1], form)


def test_rope_complex_form_of_llamas_authors() -> None:
    q, k = torch.randn(2, 33, 4, 64, device="cuda"), torch.randn(2, 33, 2, 64, device="cuda")
    freqs = torch.polar(torch.ones(33, 32), torch.randn(33, 32)).cuda()[None, :, None]
    pairs = torch.view_as_complex(q.reshape(2, 33, 4, -1, 2))
    theirs = torch.view_as_real(pairs * freqs).flatten(3)
    ours, _ = apply_rope(q, k, freqs.real, freqs.imag, layout="interleaved", table="half")
    torch.testing.assert_close(ours, theirs)


def test_rope_subsets_of_inputs_and_outputs() -> None:
    q, k = (torch.randn(2, 33, 64, device="cuda") for _ in range(2))
    cos, sin = tables(33, 64, FORMS[0], torch.float32)
    both = apply_rope(q.requires_grad_(), k.requires_grad_(), cos, sin)
    expected = torch.autograd.grad(both, (q, k), (q.detach(), k.detach()), retain_graph=True)
    for i, x in enumerate((q, k)):
        (alone,) = torch.autograd.grad(both[i], x, x.detach(), retain_graph=True)
        assert torch.equal(alone, expected[i])
        other = [t if t is x else t.detach() for t in (q, k)]
        frozen = apply_rope(*other, cos, sin)
        assert torch.equal(torch.autograd.grad(frozen[i], x, x.detach())[0], expected[i])
    assert torch.equal(rope(q, cos, sin), both[0])
    assert torch.equal(rope(k, cos, sin), both[1])


def test_rope_tables_with_gradients_and_tables_that_enlarge_go_to_the_reference() -> None:
    x = torch.randn(4, 1, 64, device="cuda", requires_grad=True)
    cos, sin = tables(33, 64, FORMS[0], torch.float32)
    assert rope(x, cos, sin).shape == (4, 33, 64)
    cos.requires_grad_()
    y = rope(x, cos, sin)
    (dcos,) = torch.autograd.grad(y.sum(), cos)
    torch.testing.assert_close(dcos, x.detach().sum(0).expand(33, 64))


@forms
def test_rope_opcheck(form: Form) -> None:
    q = torch.randn(2, 5, 4, 64, device="cuda").transpose(1, 2).requires_grad_()
    k = torch.randn(2, 1, 5, 80, device="cuda", requires_grad=True)
    cos, sin = tables(5, 64, form, torch.float32)
    operator, single = torch.ops.cudalint.apply_rope, torch.float32
    opcheck(operator, (q, k, cos, sin, *form, single, torch.float16))
    opcheck(operator, (q, None, cos, sin, *form, single, single))
    backward = torch.ops.cudalint.apply_rope_backward
    opcheck(backward, (q.detach(), k.detach(), cos, sin, *form, single, torch.float16))


def test_rope_pairs_under_transforms_and_as_operator() -> None:
    q, k = torch.randn(3, 5, 64, device="cuda"), torch.randn(3, 5, 64, device="cuda")
    cos, sin = tables(5, 64, FORMS[0], torch.float32)
    loop = [torch.stack(t) for t in zip(*(apply_rope(a, b, cos, sin) for a, b in zip(q, k)))]  # noqa: B905
    batched = torch.func.vmap(lambda a, b: apply_rope(a, b, cos, sin))(q, k)
    direct = torch.ops.cudalint.apply_rope(q, k, cos, sin, *FORMS[0], q.dtype, k.dtype)
    for mine in (batched, direct):
        assert all(torch.equal(a, b) for a, b in zip(mine, loop, strict=True))


def test_rope_of_more_than_2_to_the_31_elements() -> None:
    heads, width = 32, 128
    length = 2**31 // (heads * width) + 3
    q = torch.randn(length, heads, width, device="cuda", dtype=torch.bfloat16)
    cos, sin = (t[:, None] for t in tables(length, width, FORMS[0], torch.bfloat16))
    y = rope(q, cos, sin)
    picked = [0, 1, length - 4, length - 3, length - 1]
    fair = reference.rope(q[picked], cos[picked], sin[picked], FORMS[0], q.dtype)
    torch.testing.assert_close(y[picked], fair)
