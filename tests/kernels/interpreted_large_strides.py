"""Two rows 2³⁰ + 64 elements apart: run by test_interpreter.py in a process of its own.

A kernel that multiplies a row by its stride in 32 bits reads outside the buffer and dies with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._attention import by_formula as attention_by_formula
from cudalint.kernels._attention import launches as attention_launches
from cudalint.kernels._attention.call import Extras
from cudalint.kernels._attention.call import Form as AttentionForm
from cudalint.kernels._attention.operands import operands as attention_operands
from cudalint.kernels._cross_entropy import launches as cross_entropy_launches
from cudalint.kernels._cross_entropy import reference as cross_entropy_reference
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._decode import launches as decode_launches
from cudalint.kernels._decode import registration as decode_registration
from cudalint.kernels._glu import launches as glu_launches
from cudalint.kernels._glu import reference as glu_reference
from cudalint.kernels._rms_norm import launches as rms_norm_launches
from cudalint.kernels._rms_norm import reference as rms_norm_reference
from cudalint.kernels._rope import launches as rope_launches
from cudalint.kernels._rope import reference as rope_reference
from cudalint.kernels._rope.reference import Form
from cudalint.kernels._softmax import launches as softmax_launches
from cudalint.kernels._softmax import reference as softmax_reference

STRIDE = 2**30 + 64


def norm(x: Tensor, weight: Tensor | None, *form: float) -> Tensor:
    return rms_norm_launches.forward(x, weight, rms_norm_launches.Form(*form))


def norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, eps: float, late: bool, offset: float,
    x_grad: bool, weight_grad: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    form = rms_norm_launches.Form(eps, late, offset)
    return rms_norm_launches.backward(dy, x, weight, form, x_grad, weight_grad)


def far_rows(cols: int) -> Tensor:
    """Three rows, the last beyond 2³¹ elements, in a buffer whose other pages are never touched."""
    buffer = torch.empty(2 * STRIDE + cols, dtype=torch.float16)
    x = buffer.as_strided((3, cols), (STRIDE, 1))
    x.copy_(torch.randn(3, cols))
    return x


def test_softmax() -> None:
    for cols in (33, 40000):
        x = far_rows(cols)
        y = softmax_launches.forward(x, x.dtype, False)
        torch.testing.assert_close(y, softmax_reference.softmax(x, -1, x.dtype, False))
        dx = softmax_launches.backward(x, y, x.dtype, False)
        fair = softmax_reference.softmax_backward(x, y, x.dtype, False)
        torch.testing.assert_close(dx, fair)


def test_rms_norm() -> None:
    for cols in (33, 20000):
        x = far_rows(cols)
        weight = torch.randn(cols).half()
        y = norm(x, weight, 1e-6, False, 0.0)
        fair = rms_norm_reference.rms_norm(x, weight, 1e-6, False, 0.0)
        torch.testing.assert_close(y, fair)
        ours = norm_backward(x, x, weight, 1e-6, False, 0.0, True, True)
        expected = rms_norm_reference.rms_norm_backward(x, x, weight, 1e-6, False, 0.0)
        torch.testing.assert_close(ours[0], expected[0])
        torch.testing.assert_close(ours[1], expected[1], rtol=2e-3, atol=2e-3)


def test_glu() -> None:
    gate, up = far_rows(33), far_rows(33)
    y = glu_launches.forward(gate, up, "silu")
    torch.testing.assert_close(y, glu_reference.glu(gate, up, "silu"))
    ours = glu_launches.backward(up, gate, up, "silu", True, True)
    torch.testing.assert_close(ours, glu_reference.glu_backward(up, gate, up, "silu"))


def test_rope() -> None:
    q, k = far_rows(34)[:, :32], far_rows(16)
    cos, sin = far_rows(16), far_rows(16)
    for form in (Form(False, False), Form(True, False)):
        tables = rope_launches.Tables(cos, sin, form, False)
        ours = rope_launches.turn(q, k, tables, q.dtype, k.dtype)
        fair = [rope_reference.rope(x, cos, sin, form, x.dtype) for x in (q, k)]
        torch.testing.assert_close(list(ours), fair)


def test_cross_entropy() -> None:
    target = torch.tensor([0, -100, 5])
    options = Options(-100, 0.1, "none", None, 0.0)
    for cols in (33, 9000):
        x = far_rows(cols)
        losses, statistics = cross_entropy_launches.rows_forward(x, target, options)
        fair, _ = cross_entropy_reference.rows_forward(x, target, options)
        torch.testing.assert_close(losses, fair)
        ours = cross_entropy_launches.backward(losses, x, target, statistics, losses, options)
        expected = cross_entropy_reference.rows_backward(losses, x, target, statistics, options)
        torch.testing.assert_close(ours, expected, rtol=2e-3, atol=2e-3)


def test_decode_attention() -> None:
    """Rows, heads, places and pages that far apart."""
    q, form = torch.randn(3, 1, 1, 16).half(), decode_launches.Form(None, None, -1)
    far = [far_rows(16) for _ in range(2)]
    lengths = torch.tensor([1, 1, 1])
    for dims in ((1, 2), (0, 2), (0, 1)):  # what is three: rows, heads, places
        shape = [3 if dim not in dims else 1 for dim in range(3)]
        k, v = (x.view(*shape, 16) for x in far)
        heads, rows = shape[1], shape[0]
        queries = q[:rows].expand(rows, heads, 1, 16)
        n = lengths[:rows] * shape[2]
        arguments = (queries, k, v, None, n)
        ours = decode_launches.attend(*arguments, form)
        torch.testing.assert_close(ours, decode_registration.run_reference(*arguments, *form))
    k, v = (x.view(3, 1, 1, 16) for x in far)
    arguments = (q[:1], k, v, torch.tensor([[2, 0, 1]]), torch.tensor([3]))
    ours = decode_launches.attend(*arguments, form)
    torch.testing.assert_close(ours, decode_registration.run_reference(*arguments, *form))


def test_attention() -> None:
    """Heads that far apart, and queries that far apart in each head."""
    form = AttentionForm(None, 5.0, 1, 0, False, 0.0)
    none = Extras(None, None, None, None, None)
    for q in (far_rows(16)[None, :, None], far_rows(16)[None, None]):
        k, v = torch.randn(2, 1, q.shape[1], 3, 16).half()
        x = attention_operands(q, k, v, none, form)
        out, lse = attention_launches.forward(x)
        fair, _ = attention_by_formula.forward(q, k, v, none, form)
        torch.testing.assert_close(out, fair.half(), rtol=2e-3, atol=2e-3)
        wanted = (True, True, False, False)
        ours = attention_launches.backward(q, x, out, lse, wanted, None)
        expected = attention_by_formula.backward(q, q, k, v, none, form)
        for gradient, other in zip(ours[:3], expected, strict=False):
            torch.testing.assert_close(gradient, other.half(), rtol=2e-3, atol=4e-3)
