"""layer_norm, the norms after a sum and the adaptive norms on the CPU: references and operator."""

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
from cudalint.kernels._norms.reference import Form, Operands, fused_norm
from tests.kernels.inputs import DTYPES, LAYOUTS, draw

FLOATS = (*DTYPES, torch.float64)
OP = torch.ops.cudalint.fused_norm
BACKWARD = torch.ops.cudalint.fused_norm_backward


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layer_norm_is_torchs(dtype: torch.dtype, layout: str) -> None:
    x = draw(5, 33, dtype, layout=layout, offset=2.0)
    w, b = torch.randn(33).to(dtype), torch.randn(33).to(dtype)
    for weight, bias in ((w, b), (w, None), (None, None)):
        torch.testing.assert_close(
            layer_norm(x, weight, bias), F.layer_norm(x, (33,), weight, bias, 1e-5)
        )


@pytest.mark.parametrize(
    ("dtype", "weight_dtype"), [p for p in itertools.product(FLOATS, FLOATS) if p[0] != p[1]]
)
def test_layer_norm_with_weights_of_another_dtype(
    dtype: torch.dtype, weight_dtype: torch.dtype
) -> None:
    x, w, b = torch.randn(5, 33).to(dtype), *torch.randn(2, 33).to(weight_dtype)
    theirs = F.layer_norm(x.double(), (33,), w.double(), b.double(), 1e-5)
    ours = layer_norm(x, w, b)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs.to(dtype))


@pytest.mark.parametrize(("dtype", "residual_dtype"), [*itertools.product(DTYPES, FLOATS)])
@pytest.mark.parametrize(("cast", "offset"), [("llama", 0.0), ("late", 1.0)])
def test_add_rms_norm_is_the_sum_and_its_norm(
    dtype: torch.dtype, residual_dtype: torch.dtype, cast: Any, offset: float
) -> None:
    x, residual = torch.randn(3, 5, 64).to(dtype), torch.randn(3, 5, 64).to(residual_dtype)
    weight = torch.randn(64).to(dtype)
    y, h = add_rms_norm(x, residual, weight, cast=cast, weight_offset=offset)
    assert torch.equal(h, x + residual) and h.dtype == (x + residual).dtype
    theirs = rms_norm(x + residual, weight, cast=cast, weight_offset=offset)
    assert y.dtype == theirs.dtype and torch.equal(y, theirs)


@pytest.mark.parametrize(("dtype", "residual_dtype"), [*itertools.product(DTYPES, FLOATS)])
def test_add_layer_norm_is_the_sum_and_its_norm(
    dtype: torch.dtype, residual_dtype: torch.dtype
) -> None:
    x, residual = torch.randn(3, 5, 64).to(dtype), torch.randn(3, 5, 64).to(residual_dtype)
    w, b = torch.randn(64).to(dtype), torch.randn(64).to(dtype)
    y, h = add_layer_norm(x, residual, w, b)
    assert torch.equal(h, x + residual) and h.dtype == (x + residual).dtype
    torch.testing.assert_close(y, layer_norm(x + residual, w, b))


def test_a_residual_kept_in_float32() -> None:
    x, residual = torch.randn(5, 64).bfloat16(), torch.randn(5, 64).bfloat16()
    weight = torch.randn(64).bfloat16()
    wide = x.float() + residual.float()
    for kept in (residual, residual.float()):
        y, h = add_rms_norm(x, kept, weight, residual_dtype=torch.float32)
        assert torch.equal(h, wide) and y.dtype == torch.bfloat16
        torch.testing.assert_close(y, rms_norm(wide, weight.float()).bfloat16(), rtol=2**-7, atol=0)
        y, h = add_layer_norm(x, kept, weight, residual_dtype=torch.float32)
        assert torch.equal(h, wide) and y.dtype == torch.bfloat16
        theirs = F.layer_norm(wide, (64,), weight.float(), None, 1e-5)
        torch.testing.assert_close(y, theirs.bfloat16())


def test_a_residual_of_another_shape_is_broadcast() -> None:
    x, row = torch.randn(3, 5, 64), torch.randn(5, 64)
    for first, second in ((x, row), (row, x)):
        y, h = add_layer_norm(first, second)
        assert torch.equal(h, x + row)
        torch.testing.assert_close(y, F.layer_norm(x + row, (64,)))
    gate = torch.randn(3, 64)
    torch.testing.assert_close(gated_residual(row, x, gate), row + gate[:, None] * x)
    out, h = gated_residual_ada_layer_norm(row, x, gate, scale=gate, shift=gate)
    torch.testing.assert_close(h, row + gate[:, None] * x)
    torch.testing.assert_close(out, ada_layer_norm(h, scale=gate, shift=gate))


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """As DiT writes it, on what is already (B, 1 or T, C)."""
    return x * (1 + scale) + shift


B, T, C = 2, 5, 48
MODULATIONS = {
    "(B, C)": lambda t: (t[:, 0], t[:, :1]),
    "(B, 1, C)": lambda t: (t[:, :1], t[:, :1]),
    "(B, T, C)": lambda t: (t, t),
    "(1, 1, C)": lambda t: (t[:1, :1], t[:1, :1]),
    "(1, T, C)": lambda t: (t[:1], t[:1]),
    "(C,)": lambda t: (t[0, 0], t[:1, :1]),
}
modulations = pytest.mark.parametrize("kind", list(MODULATIONS))


def slices(kind: str, dtype: torch.dtype = torch.float64) -> list[tuple[Tensor, Tensor]]:
    """Six slices of one chunk, strided, each as it is passed and as it broadcasts."""
    table = torch.randn(B, T, 6 * C).to(dtype)
    return [MODULATIONS[kind](part) for part in table.chunk(6, dim=-1)]


@modulations
def test_adaptive_norms_are_the_hand_written_ones(kind: str) -> None:
    x, y = torch.randn(2, B, T, C, dtype=torch.float64)
    (shift, wide_shift), (scale, wide_scale), (gate, wide_gate), *_ = slices(kind)
    w, b = torch.randn(2, C, dtype=torch.float64)
    by_hand = modulate(F.layer_norm(x, (C,), w, b, 1e-6), wide_scale, wide_shift)
    torch.testing.assert_close(
        ada_layer_norm(x, scale=scale, shift=shift, weight=w, bias=b), by_hand
    )
    by_hand = modulate(F.rms_norm(x, (C,), w, 1e-6), wide_scale, wide_shift)
    torch.testing.assert_close(ada_rms_norm(x, scale=scale, shift=shift, weight=w), by_hand)
    h = x + wide_gate * y
    torch.testing.assert_close(gated_residual(x, y, gate), h)
    out, new = gated_residual_ada_layer_norm(x, y, gate, scale=scale, shift=shift, scale_offset=0.0)
    torch.testing.assert_close(new, h)
    torch.testing.assert_close(out, F.layer_norm(h, (C,), eps=1e-6) * wide_scale + wide_shift)


@pytest.mark.parametrize(("dtype", "scale_dtype"), [*itertools.product(DTYPES, DTYPES)])
def test_result_dtypes_of_the_adaptive_norms(dtype: torch.dtype, scale_dtype: torch.dtype) -> None:
    x = torch.randn(B, T, C).to(dtype)
    (shift, wide_shift), (scale, wide_scale), (gate, wide_gate), *_ = slices("(B, C)", scale_dtype)
    by_hand = modulate(F.layer_norm(x, (C,)), wide_scale, wide_shift).dtype
    for norm in (ada_layer_norm, ada_rms_norm):
        assert norm(x, scale=scale, shift=shift).dtype == by_hand
        assert norm(x, scale=scale, shift=None).dtype == by_hand
        assert norm(x, scale=scale, shift=shift, dtype=torch.float16).dtype == torch.float16
    assert gated_residual(x, x, gate).dtype == (x + wide_gate * x).dtype
    assert gated_residual(x, x, gate, dtype=dtype).dtype == dtype
    out, new = gated_residual_ada_layer_norm(x, x, gate, scale=scale, shift=shift)
    assert new.dtype == (x + wide_gate * x).dtype == out.dtype
    out, new = gated_residual_ada_layer_norm(
        x, x, gate, scale=scale, shift=shift, dtype=dtype, residual_dtype=torch.float32
    )
    assert (out.dtype, new.dtype) == (dtype, torch.float32)


def calls() -> dict[str, tuple[Callable[..., Any], list[Tensor]]]:
    """Each function with float64 tensors, all of which want a gradient."""

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    x, r, w, b = leaf(B, 3, 4), leaf(B, 3, 4), leaf(4), leaf(4)
    gate, scale, shift = leaf(B, 4), leaf(B, 1, 4), leaf(1, 1, 4)
    return {
        "layer_norm": (layer_norm, [x, w, b]),
        "add_rms_norm": (add_rms_norm, [x, r, w]),
        "add_layer_norm": (add_layer_norm, [x, r, w, b]),
        "ada_layer_norm": (
            lambda x, s, t, w, b: ada_layer_norm(x, scale=s, shift=t, weight=w, bias=b),
            [x, scale, shift, w, b],
        ),
        "ada_rms_norm": (
            lambda x, s, t, w: ada_rms_norm(x, scale=s, shift=t, weight=w), [x, scale, shift, w],
        ),
        "gated_residual": (gated_residual, [r, x, gate]),
        "gated_residual_ada_layer_norm": (
            lambda r, x, g, s, t: gated_residual_ada_layer_norm(r, x, g, scale=s, shift=t),
            [r, x, gate, scale, shift],
        ),
    }  # fmt: skip


functions = pytest.mark.parametrize("name", list(calls()))


@functions
def test_gradients_in_float64(name: str) -> None:
    function, leaves = calls()[name]
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@functions
def test_vmap_is_a_loop(name: str) -> None:
    function, leaves = calls()[name]
    inputs = [torch.stack([t.detach(), t.detach() * 2]) for t in leaves]
    ours = torch.func.vmap(function)(*inputs)
    loop = [function(*[t[i] for t in inputs]) for i in range(2)]
    for i, result in enumerate(loop):
        torch.testing.assert_close(
            [o[i] for o in ours] if isinstance(ours, tuple) else ours[i],
            list(result) if isinstance(result, tuple) else result,
        )


@functions
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_in_one_graph(name: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    function, leaves = calls()[name]
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    ours, expected = compiled(*leaves), function(*leaves)
    torch.testing.assert_close(ours, expected)

    def gradients(results: Any) -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        results = results if isinstance(results, tuple) else (results,)
        return torch.autograd.grad(results, leaves, [torch.randn_like(r) for r in results])

    torch.testing.assert_close(gradients(ours), gradients(expected))


@pytest.mark.parametrize("kind", ["(B, C)", "(B, T, C)", "(1, 1, C)", "(C,)"])
@pytest.mark.parametrize("learns", [False, True])
def test_compiled_modulations_are_inline_but_where_a_gradient_sums_all_rows(
    kind: str, learns: bool
) -> None:
    x = torch.randn(B, T, C, requires_grad=True)
    shape = {"(B, C)": (B, C), "(B, T, C)": (B, T, C), "(1, 1, C)": (1, 1, C), "(C,)": (C,)}[kind]
    s, t, g = (torch.randn(shape, requires_grad=learns) for _ in range(3))
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        seen[:] = [str(node.target) for node in graph.graph.nodes]
        return graph.forward

    def program() -> Any:
        out, h = gated_residual_ada_layer_norm(x, x, g, scale=s, shift=t)
        return ada_layer_norm(out, scale=s, shift=t), ada_rms_norm(h, scale=s, shift=None)

    torch._dynamo.reset()
    ours, expected = torch.compile(program, backend=backend, fullgraph=True)(), program()
    assert any("cudalint" in name for name in seen) == (learns and kind in ("(1, 1, C)", "(C,)"))
    torch.testing.assert_close(ours, expected)
    leaves = [x, s, t, g] if learns else [x]
    dy = [torch.randn_like(x) for _ in range(2)]
    found = (torch.autograd.grad(results, leaves, dy) for results in (ours, expected))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "other"), [*itertools.product(DTYPES, DTYPES)])
def test_compiled_modulations_have_the_same_dtypes(
    dtype: torch.dtype, other: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is traced, run as it is: its roundings in between are none of inductor's."""
    x, w = torch.randn(B, T, C).to(dtype), torch.randn(C).to(other)
    s = torch.randn(B, C).to(other)

    def program(weight: Tensor | None, **dtypes: Any) -> list[Tensor]:
        norm = dtypes.pop("dtype", None)
        pair = gated_residual_ada_layer_norm(x, x, s, scale=s, shift=s, dtype=norm, **dtypes)
        one = ada_layer_norm(x, scale=s, shift=s, weight=weight, dtype=norm)
        return [*pair, one, ada_rms_norm(x, scale=s, shift=s, weight=weight, dtype=norm)]

    for dtypes in ({}, {"dtype": torch.float32, "residual_dtype": torch.float32}, {"dtype": dtype}):
        for weight in (None, w):
            expected = program(weight, **dtypes)
            with monkeypatch.context() as traced:
                traced.setattr(torch.compiler, "is_compiling", lambda: True)
                ours = program(weight, **dtypes)
            assert [t.dtype for t in ours] == [t.dtype for t in expected]
            for a, b in zip(ours, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=3e-2, atol=1e-1)


def test_autocast_changes_no_dtype_on_the_cpu() -> None:
    x, s = torch.randn(B, T, C).bfloat16(), torch.randn(B, C).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer_norm(x).dtype == F.layer_norm(x, (C,)).dtype
        assert ada_layer_norm(x.float(), scale=s, shift=s).dtype == torch.float32
        assert [t.dtype for t in add_rms_norm(x, x.float())] == [torch.float32] * 2
        assert gated_residual(x, x, s).dtype == torch.bfloat16


F32, BF16 = torch.float32, torch.bfloat16
# (layer, late, dtypes of sum, norm and result)
FORMS = {
    "layer": (1e-5, 0.0, 1.0, True, True, F32, F32, F32),
    "llama": (1e-6, 0.0, 0.5, False, False, BF16, BF16, BF16),
    "late": (1e-6, 1.0, 0.0, False, True, F32, F32, BF16),
}
# which of residual, gate, weight, bias, scale, shift are there
PARTS = ("", "r", "rwb", "st", "rgst", "rgwbst", "s", "w")


def operands(parts: str, grad: bool = True) -> list[Tensor | None]:
    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape).requires_grad_(grad)

    shapes = {"r": (B, 3, 4), "g": (B, 1, 4), "w": (4,), "b": (4,), "s": (B, 3, 4), "t": (1, 1, 4)}
    there = [leaf(*shape) if part in parts else None for part, shape in shapes.items()]
    return [leaf(3, B, 4).detach().transpose(0, 1).requires_grad_(grad), *there]


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("parts", PARTS)
def test_opcheck(form: str, parts: str) -> None:
    opcheck(OP, (*operands(parts), *FORMS[form]))


def test_opcheck_of_the_backward() -> None:
    x, r, gate, w, b, scale, shift = operands("rgwbst", grad=False)
    form = FORMS["layer"]
    for needs in ([True] * 7, [True, False] * 3 + [True]):
        opcheck(BACKWARD, (x, r, x, x, gate, w, b, scale, shift, BF16, needs, *form))
    opcheck(
        BACKWARD, (x, None, x, x, None, None, None, scale, None, F32, [True] + [False] * 6, *form)
    )


GATED = torch.ops.cudalint.gated_residual


def test_opcheck_of_the_gated_residual() -> None:
    y, residual, gate, *_ = operands("rg")
    opcheck(GATED, (residual, y, gate, BF16))
    y, residual, gate = (t.detach() for t in (y, residual, gate))
    for needs in ((True, True), (True, False), (False, True)):
        opcheck(torch.ops.cudalint.gated_residual_backward, (residual, y, gate, *needs))


def test_the_gated_operators_gradients_are_those_of_the_reference() -> None:
    y, residual, gate, *_ = (None if t is None else t.double() for t in operands("rg"))
    dout = torch.randn(residual.shape).double()
    ours, theirs = GATED(residual, y, gate, torch.float64), gated_residual(residual, y, gate)
    torch.testing.assert_close(ours, theirs)
    for leaves in ((residual, y, gate), (y,), (gate,), (residual,)):
        torch.testing.assert_close(
            torch.autograd.grad(ours, leaves, dout, retain_graph=True),
            torch.autograd.grad(theirs, leaves, dout, retain_graph=True),
        )


@pytest.mark.parametrize("form", ["layer", "llama"])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("used", ["y", "h", "both"])
def test_the_operators_gradients_are_those_of_the_reference(
    form: str, parts: str, used: str
) -> None:
    """In float64, where nothing is rounded; each subset of the results used."""
    inputs = [None if t is None else t.detach().double().requires_grad_() for t in operands(parts)]
    numbers = (*FORMS[form][:5], *[torch.float64] * 3)
    leaves = [t for t in inputs if t is not None]
    if "r" not in parts:
        used = "y"
    elif used == "h":
        leaves = [t for t in inputs[:3] if t is not None]

    def gradients(results: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        torch.manual_seed(3)
        picked = {"y": results[:1], "h": results[1:], "both": results}[used]
        return torch.autograd.grad(picked, leaves, [torch.randn(t.shape).double() for t in picked])

    ours = OP(*inputs, *numbers)
    theirs = fused_norm(Operands(*inputs), Form(*numbers))
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(gradients(ours), gradients(theirs))


def test_double_backward_of_the_operator_raises() -> None:
    inputs = operands("rgst")
    y, _ = OP(*inputs, *FORMS["layer"])
    (dx,) = torch.autograd.grad(y.pow(2).sum(), inputs[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="accepted: one backward pass"):
        dx.sum().backward()


X, V = torch.ones(2, 3, 4), torch.ones(4)
INT = torch.ones(4, dtype=torch.int64)
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: layer_norm(torch.ones(())), "layer_norm: x has no dimensions"),
    (lambda: layer_norm(INT), "layer_norm: x has dtype torch.int64"),
    (lambda: layer_norm(X, torch.ones(3)), r"weight has shape \(3,\); accepted: \(4,\)"),
    (lambda: layer_norm(X, V, torch.ones(1, 4)), r"bias has shape \(1, 4\)"),
    (lambda: layer_norm(X, V, V.to("meta")), "bias is on meta"),
    (lambda: add_rms_norm(X, torch.ones(2, 4)), r"residual has shape \(2, 4\); accepted: shapes"),
    (lambda: add_rms_norm(X, X, V, cast="early"), "add_rms_norm: cast is 'early'"),  # type: ignore[arg-type]
    (lambda: add_rms_norm(X, X, V, weight_offset=1.0), "weight_offset is 1.0"),
    (lambda: add_rms_norm(X, X, residual_dtype=torch.int8), "residual_dtype is torch.int8"),
    (lambda: add_layer_norm(X, X.to("meta")), "residual is on meta"),
    (lambda: add_layer_norm(X, X, INT), "weight has dtype torch.int64"),
    (
        lambda: ada_layer_norm(X, scale=torch.ones(3, 4), shift=V),
        r"scale has shape \(3, 4\); accepted: \(4,\), \(2, 4\), \(1 or 2, 1 or 3, 4\), for x",
    ),
    (lambda: ada_layer_norm(X, scale=V, shift=torch.ones(2, 3, 1)), r"shift has shape \(2, 3, 1\)"),
    (lambda: ada_layer_norm(X, scale=INT, shift=V), "scale has dtype"),
    (lambda: ada_rms_norm(X, scale=V, shift=V, dtype=torch.int8), "ada_rms_norm: dtype is"),
    (lambda: gated_residual(X, X, torch.ones(())), r"gate has shape \(\)"),
    (lambda: gated_residual(X, torch.ones(2, 2, 4), V), r"y has shape \(2, 2, 4\)"),
    (lambda: gated_residual(X, INT, V), "gated_residual: y has dtype"),
    (
        lambda: gated_residual_ada_layer_norm(X, X, V, scale=V, shift=torch.ones(3)),
        r"gated_residual_ada_layer_norm: shift has shape \(3,\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_refusals_say_what_is_accepted(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
