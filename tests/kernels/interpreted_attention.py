"""The own attention kernel in Triton's interpreter: run by test_interpreter.py.

Held against `by_formula`, which test_own_attention.py holds against autograd of the reference. The
interpreter truncates where bfloat16 should round, hence one more bit of tolerance there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from cudalint.kernels._attention import by_formula, dropout, launches, reference
from cudalint.kernels._attention.call import LOG2E, Extras, Form
from cudalint.kernels._attention.operands import alibi
from tests.kernels.error_law import assert_all_allowed
from tests.kernels.inputs import guarded_empty, poisoned_empty

TOLERANCE = {torch.float32: 4e-6, torch.float16: 3e-3, torch.bfloat16: 2**-6}
PLAIN = Form(None, None, -1, -1, False, 0.0)
NONE = Extras(None, None, None, None, None)
# More than one tile of 16 each way, the last ones not full.
QUERIES, KEYS, HEADS = 20, 36, 2


def operands(
    queries: int = QUERIES, keys: int = KEYS, width: int = 16, dtype: torch.dtype = torch.float32,
    kv_heads: int = 1, v_width: int = 0, batch: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape).to(dtype)

    v = normal(kv_heads, keys, v_width or width)
    return normal(HEADS, queries, width), normal(kv_heads, keys, width), v


def check(qkv: tuple[Tensor, Tensor, Tensor], extras: Extras = NONE, form: Form = PLAIN) -> None:
    """The result, what is kept of it, and all gradients."""
    q, k, v = qkv
    x = launches.operands(q, k, v, extras, form)
    with poisoned_empty():
        out, lse = launches.forward(x)
        dout = torch.randn(out.shape).to(q.dtype)
        wanted = (True, True, extras.bias is not None, extras.sinks is not None)
        ours = launches.backward(dout, x, out, lse, wanted, extras.bias)
    fair_out, fair_lse = by_formula.forward(q, k, v, extras, form)
    close(out, fair_out, q.dtype)
    if alibi(x) == 2 and extras.alibi_slopes is not None:  # what all scores of a row leave out
        place = torch.arange(q.shape[2]) % 128
        fair_lse[0] += extras.alibi_slopes[:, None] * place * LOG2E
    torch.testing.assert_close(lse, fair_lse, rtol=1e-2, atol=TOLERANCE[q.dtype] * 8)
    *fair, dscores, dsinks = by_formula.backward(dout, q, k, v, extras, form)
    for gradient, other in zip(ours, fair, strict=False):
        assert gradient is not None
        close(gradient, other, q.dtype)
    if extras.bias is not None and ours.dbias is not None:
        shape = (1,) * (4 - extras.bias.dim()) + extras.bias.shape
        close(ours.dbias, dscores.sum_to_size(shape).view(extras.bias.shape), q.dtype)
    if dsinks is not None and ours.dsinks is not None:
        close(ours.dsinks, dsinks, q.dtype)


def close(ours: Tensor, fair: Tensor, dtype: torch.dtype) -> None:
    assert ours.shape == fair.shape
    tolerance = TOLERANCE[dtype]
    scale = max(float(fair.abs().max()), 0.3)  # cudalint: ignore[CUS004]
    torch.testing.assert_close(ours.float(), fair.float(), rtol=tolerance, atol=tolerance * scale)


def blocked() -> Tensor:
    """A mask with a query that sees nothing."""
    mask = torch.rand(1, 1, QUERIES, KEYS) > 0.4
    mask[:, :, 3] = False
    return mask


def lowest() -> Tensor:
    """Numbers to add, in one row all the lowest of float32, in one all −∞."""
    mask = torch.randn(1, 1, QUERIES, KEYS)
    mask[:, :, 5], mask[:, :, 6] = torch.finfo(torch.float32).min, -torch.inf
    return mask


FEATURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "causal": ({}, {"right": 0}),
    "window": ({}, {"left": 7, "right": 2, "bottom_right": True}),
    "softcap": ({}, {"softcap": 2.0, "scale": 0.4}),
    "alibi": ({"alibi_slopes": torch.tensor([0.5, 0.25])}, {}),
    "sinks": ({"sinks": torch.tensor([0.5, -torch.inf])}, {"left": 5, "right": 0}),
    "bool mask": ({"attn_mask": blocked}, {}),
    "added mask": ({"attn_mask": lowest}, {}),
    "dropout": ({"seed": torch.tensor([2**40 + 12345])}, {"dropout_p": 0.3}),
}


def named(*names: str) -> tuple[Extras, Form]:
    extras, form = NONE, PLAIN
    for name in names:
        tensors, numbers = FEATURES[name]
        made = {n: t() if callable(t) else t for n, t in tensors.items()}
        extras, form = extras._replace(**made), form._replace(**numbers)
    return extras, form


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.parametrize(("name", "dtype"), [(n, DTYPES[i % 2]) for i, n in enumerate(FEATURES)])
def test_each_feature(name: str, dtype: torch.dtype) -> None:
    check(operands(dtype=dtype), *named(name))


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_features_together(dtype: torch.dtype) -> None:
    names = ("window", "softcap", "alibi", "sinks", "bool mask", "dropout")
    extras, form = named(*names)
    check(operands(dtype=dtype), extras._replace(bias=torch.randn(HEADS, QUERIES, KEYS)), form)


@pytest.mark.parametrize(
    ("queries", "keys", "left", "right"),
    [(36, 20, -1, 0), (36, 20, 5, 3), (1, 36, 20, -1), (20, 1, 3, 3), (33, 33, 0, 0)],
)
@pytest.mark.parametrize("bottom_right", [False, True])
def test_lengths_that_differ(
    queries: int, keys: int, left: int, right: int, bottom_right: bool
) -> None:
    form = PLAIN._replace(left=left, right=right, bottom_right=bottom_right)
    check(operands(queries, keys), form=form)


@pytest.mark.parametrize("others", [(), ("sinks",), ("bool mask", "dropout", "softcap")])
def test_alibi_of_keys_that_no_query_sees_behind_it(others: tuple[str, ...]) -> None:
    extras, form = named("alibi", *others)
    if others:
        extras = extras._replace(bias=torch.randn(HEADS, QUERIES, KEYS))
    form = form._replace(left=-1, right=0, bottom_right=True)
    check(operands(dtype=torch.float16), extras, form)


@pytest.mark.parametrize("shape", [(QUERIES, KEYS), (2, 1, 1, KEYS), (HEADS, QUERIES, 1)])
def test_the_gradient_of_a_bias_is_summed(shape: tuple[int, ...]) -> None:
    """With a sink, without which numbers that are the same along a row have no gradient."""
    extras = NONE._replace(bias=torch.randn(shape), sinks=torch.randn(HEADS))
    check(operands(batch=2), extras)


def test_group_heads_and_widths() -> None:
    form = PLAIN._replace(left=9, right=0)
    check(operands(width=24, v_width=40, kv_heads=2, dtype=torch.float16), form=form)
    check(operands(16, 20, width=136), form=form)


def test_layouts() -> None:
    q, k, v = operands(kv_heads=2, batch=2)
    check((q.transpose(1, 2).contiguous().transpose(1, 2), k[:, :1].expand_as(k), v))
    check((q, k.mT.contiguous().mT, v[:, :, ::2].repeat_interleave(2, 2)))


def test_dropout_is_the_mask_that_torch_makes_of_the_seed() -> None:
    q, k, _ = operands(keys=32)
    v = torch.eye(32).expand(1, 1, 32, 32)
    extras, form = named("dropout")
    assert extras.seed is not None
    out, _ = launches.forward(launches.operands(0 * q, k, v, extras, form))
    kept = dropout.kept(extras.seed, 0.3, (1, HEADS, QUERIES, 32))
    torch.testing.assert_close(out, kept / 32 / 0.7)


def test_nothing_is_written_outside_the_results() -> None:
    q, k, v = operands(width=24)
    extras, form = named("sinks", "alibi")
    extras = extras._replace(bias=torch.randn(1, KEYS))
    with guarded_empty() as guards:
        x = launches.operands(q, k, v, extras, form)
        out, lse = launches.forward(x)
        launches.backward(out, x, out, lse, (True, True, True, True), extras.bias)
    assert guards.untouched()


def in_turn(
    self: Any, a: TensorHandle, b: TensorHandle, d: TensorHandle, *others: Any
) -> TensorHandle:
    """A product as a GPU makes it of float32, one number after the other."""
    x, y = a.data.astype(np.float64), b.data.astype(np.float64)
    total = d.data.astype(np.float32)
    for k in range(x.shape[-1]):
        total = (total + x[..., k : k + 1] * y[..., k : k + 1, :]).astype(np.float32)
    return TensorHandle(total, d.dtype.scalar)


@pytest.mark.parametrize(("name", "offset"), [("softcap", 300.0), ("sinks", 0.0)])
def test_float32_gradients_keep_the_error_law(
    name: str, offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values far from 0 make dp and delta large, of which dp − delta is a small rest."""
    monkeypatch.setattr(InterpreterBuilder, "create_dot", in_turn)
    extras, form = named(name)
    form = form._replace(right=0)
    runs: list[list[tuple[Tensor, Tensor, Tensor]]] = []
    for seed in range(2):
        torch.manual_seed(seed)
        q, k, v = operands(33, 33, 64)
        v, dout = v + offset, torch.randn(1, HEADS, 33, 64)
        x = launches.operands(q, k, v, extras, form)
        ours = launches.backward(dout, x, *launches.forward(x), (True, True, False, False), None)
        others = [differentiated(dout.to(t), (q, k, v), extras, form) for t in WIDE]
        runs.append(list(zip(ours[:3], *others, strict=True)))
    assert_all_allowed(runs, factor=3.0)


WIDE = (torch.float32, torch.float64)


def differentiated(
    dout: Tensor, qkv: tuple[Tensor, Tensor, Tensor], extras: Extras, form: Form
) -> tuple[Tensor, ...]:
    """The gradients that torch finds in the specification."""
    leaves = [t.to(dout.dtype).requires_grad_() for t in qkv]
    out = reference.attention(*leaves, by_formula.options_of(extras, form))
    return torch.autograd.grad(out, leaves, dout)


def test_programs_that_chose_tf32_by_the_newer_setting() -> None:
    """The older getters raise there."""
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        check(operands(16, 16))
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
