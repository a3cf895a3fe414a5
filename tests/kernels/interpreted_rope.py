"""The rotary kernel in Triton's interpreter: run by test_interpreter.py.

The interpreter truncates where bfloat16 should round, hence one more bit of tolerance there.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from cudalint.kernels._rope import launches, reference
from cudalint.kernels._rope.reference import Form
from tests.kernels.inputs import DTYPES, guarded_empty, poisoned_empty

TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2**-6}
FORMS = [Form(*flags) for flags in product((False, True), repeat=2)]
forms = pytest.mark.parametrize("form", FORMS, ids=str)


def close(ours: Tensor, fair: Tensor, *rounded: torch.dtype) -> None:
    tolerance = max(TOLERANCE[dtype] for dtype in (fair.dtype, *rounded))
    torch.testing.assert_close(ours, fair, rtol=tolerance, atol=tolerance, equal_nan=True)


def check(
    q: Tensor, k: Tensor | None, cos: Tensor, sin: Tensor, form: Form,
    dtype: torch.dtype | None = None,
) -> None:  # fmt: skip
    """Forward and backward of q and k together, by the reference's autograd."""
    operands = [x for x in (q, k) if x is not None]
    before = [t.clone() for t in (*operands, cos, sin)]
    dtypes = [reference.result_dtype(x, cos, dtype) for x in operands]
    with poisoned_empty():
        tables = launches.Tables(cos, sin, form, False)
        ys = launches.turn(q, k, tables, dtypes[0], dtypes[-1])
        dys = [torch.randn(y.shape).to(y.dtype) for y in ys]
        back = tables._replace(backward=True)
        last = None if k is None else dys[1]
        dxs = launches.turn(dys[0], last, back, operands[0].dtype, operands[-1].dtype)
    for x, y, dy, dx in zip(operands, ys, dys, dxs, strict=False):
        close(y, reference.rope(x, cos, sin, form, y.dtype))
        close(dx, reference.rope_backward(dy, cos, sin, form, x.dtype), y.dtype)
    if k is None:
        assert ys[1].numel() == dxs[1].numel() == 0
    after = (*operands, cos, sin)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def tables_of(length: int, width: int, form: Form, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin whose halves differ."""
    shape = (length, width // 2 if form.half_table else width)
    cos, sin = (torch.randn(shape).to(dtype) for _ in range(2))
    return cos, sin


@forms
@pytest.mark.parametrize(("width", "rotary"), [(2, 2), (16, 16), (40, 40), (22, 6), (128, 64)])
def test_rope(form: Form, width: int, rotary: int) -> None:
    dtype = DTYPES[width % 3]
    q = torch.randn(2, 5, 4, width).to(dtype).transpose(1, 2)
    k = torch.randn(2, 1, 5, width).to(dtype)
    check(q, k, *tables_of(5, rotary, form, dtype), form)


@pytest.mark.parametrize(("x_dtype", "table_dtype"), [*product(DTYPES, DTYPES)])
def test_rope_dtypes(x_dtype: torch.dtype, table_dtype: torch.dtype) -> None:
    x, form = torch.randn(3, 5, 8).to(x_dtype), FORMS[0]
    check(x, x[:1], *tables_of(5, 8, form, table_dtype), form)
    check(x, None, *tables_of(5, 8, form, table_dtype), form, dtype=x_dtype)


@forms
def test_layouts_of_tokens_and_tables(form: Form) -> None:
    packed = torch.randn(2, 5, 3 * 32)
    q, k, _ = (t.unflatten(-1, (4, 8)) for t in packed.chunk(3, dim=-1))
    cos, sin = (t[None, :, None] for t in tables_of(5, 8, form, torch.float32))
    check(q, k, cos, sin, form)
    check(q.transpose(1, 2), k.transpose(1, 2), cos.transpose(1, 2), sin.transpose(1, 2), form)
    check(q, k, cos.expand(2, 5, 1, -1), sin.expand(2, 5, 4, -1)[:, :, :1], form)
    spread = [torch.randn(2, *t.shape).movedim(0, -1)[..., 0] for t in (cos, sin)]
    check(q, None, *spread, form)  # numbers two apart, as in the parts of a complex tensor
    check(q.transpose(-1, -2), None, *(t[..., :2] for t in (cos[:, :1], sin[:, :1])), form)
    check(torch.randn(8).expand(3, 5, 8), None, *tables_of(5, 8, form, torch.float32), form)


@forms
@pytest.mark.parametrize(("heads", "kv_heads"), [(5, 5), (40, 8), (6, 1)])
def test_heads_of_a_token_share_a_row_of_the_tables(form: Form, heads: int, kv_heads: int) -> None:
    q, k = torch.randn(2, 3, heads, 136), torch.randn(2, 3, kv_heads, 136)
    cos, sin = (t[None, :, None] for t in tables_of(3, 128, form, torch.float32))
    check(q, k, cos, sin, form)
    check(q.transpose(1, 2), k.transpose(1, 2), cos.transpose(1, 2), sin.transpose(1, 2), form)


@pytest.mark.parametrize("shape", [(8,), (0, 8), (1, 8), (199, 8)])
def test_numbers_of_rows(shape: tuple[int, ...]) -> None:
    x, form = torch.randn(shape), FORMS[0]
    check(x, torch.randn(3, 8), torch.randn(8), torch.randn(8), form)
    check(x, x[:0] if x.dim() > 1 else None, torch.randn(8), torch.randn(8), form)


def test_more_levels_than_the_kernel_steps_through_are_copied() -> None:
    x = torch.randn(2, 3, 2, 3, 2, 8)[:, :2, :, :2].permute(3, 1, 0, 2, 4, 5)
    check(x, None, torch.randn(2, 8), torch.randn(2, 8), FORMS[0])
    cos = torch.randn(2, 1, 2, 1, 8)
    check(torch.randn(2, 3, 2, 3, 8), torch.randn(2, 3, 2, 3, 10), cos, cos.sin(), FORMS[0])


@forms
def test_nan_and_infinities(form: Form) -> None:
    q = torch.randn(5, 8)
    q[0, 0], q[1, 1], q[2] = torch.nan, torch.inf, 1e38
    cos, sin = tables_of(5, 8, form, torch.float32)
    y, _ = launches.turn(q, None, launches.Tables(cos, sin, form, False), q.dtype, q.dtype)
    close(y, reference.rope(q, cos, sin, form, q.dtype))


@forms
def test_nothing_is_written_outside_the_results(form: Form) -> None:
    q, k = torch.randn(3, 5, 22), torch.randn(2, 5, 10)
    tables = launches.Tables(*tables_of(5, 6, form, torch.float32), form, False)
    with guarded_empty() as guards:
        launches.turn(q, k, tables, q.dtype, k.dtype)
    assert guards.untouched()
