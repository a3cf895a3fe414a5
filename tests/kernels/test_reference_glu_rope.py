"""Gated units and rotary embeddings on the CPU: the references against code we did not write."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import apply_rope, geglu, geglu_packed, rope, swiglu, swiglu_packed
from cudalint.kernels._dispatch import result_type
from tests.kernels.inputs import DTYPES, LAYOUTS, draw

FLOATS = (*DTYPES, torch.float64)

ACTS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[[Tensor], Tensor]]] = {
    "swiglu": (swiglu, swiglu_packed, F.silu),
    "geglu": (geglu, geglu_packed, F.gelu),
    "geglu tanh": (
        lambda g, u: geglu(g, u, approximate="tanh"),
        lambda x, **o: geglu_packed(x, approximate="tanh", **o),
        lambda g: F.gelu(g, approximate="tanh"),
    ),
}
acts = pytest.mark.parametrize("name", list(ACTS))


@acts
@pytest.mark.parametrize(("gate_dtype", "up_dtype"), [*itertools.product(FLOATS, FLOATS)])
def test_glu_is_the_form_by_hand(name: str, gate_dtype: torch.dtype, up_dtype: torch.dtype) -> None:
    ours, _, act = ACTS[name]
    gate, up = torch.randn(5, 33).to(gate_dtype), torch.randn(5, 33).to(up_dtype)
    by_hand = act(gate) * up
    assert ours(gate, up).dtype == by_hand.dtype
    eps = max(torch.finfo(t.dtype).eps for t in (gate, by_hand))
    torch.testing.assert_close(ours(gate, up), by_hand, rtol=4 * eps, atol=4 * eps)


@acts
@pytest.mark.parametrize("gate_first", [True, False])
@pytest.mark.parametrize("shape", [(2,), (0, 4), (4, 0), (2, 3, 34)], ids=str)
def test_packed_is_the_halves(name: str, gate_first: bool, shape: tuple[int, ...]) -> None:
    ours, packed, _ = ACTS[name]
    x = torch.randn(shape)
    first, second = x.chunk(2, -1)
    expected = ours(first, second) if gate_first else ours(second, first)
    assert torch.equal(packed(x, gate_first=gate_first), expected)


@acts
@pytest.mark.parametrize("layout", LAYOUTS)
def test_glu_of_strided_inputs(name: str, layout: str) -> None:
    ours, packed, _ = ACTS[name]
    gate = draw(5, 12, torch.float32, layout=layout)
    up = draw(5, 12, torch.float32, layout=layout, seed=1)
    torch.testing.assert_close(ours(gate, up), ours(gate.contiguous(), up.contiguous()))
    torch.testing.assert_close(packed(gate), packed(gate.contiguous()))


@acts
def test_glu_broadcasts_as_torch_does(name: str) -> None:
    ours, _, act = ACTS[name]
    gate, up = torch.randn(2, 1, 5, requires_grad=True), torch.randn(3, 1, requires_grad=True)
    y, expected = ours(gate, up), act(gate) * up
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(y)
    torch.testing.assert_close(
        torch.autograd.grad(y, (gate, up), dy), torch.autograd.grad(expected, (gate, up), dy)
    )


@acts
def test_glu_gradients_in_float64(name: str) -> None:
    ours, packed, _ = ACTS[name]
    gate, up = (torch.randn(2, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(ours, (gate, up))
    assert torch.autograd.gradgradcheck(ours, (gate, up))
    x = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: packed(x, gate_first=False), (x,))


def test_geglu_of_diffusers() -> None:
    """The body of GEGLU.forward, which takes the second half for the gate."""
    x = torch.randn(2, 3, 16)
    hidden, gate = x.chunk(2, dim=-1)
    torch.testing.assert_close(geglu_packed(x, gate_first=False), hidden * F.gelu(gate))


def rotate_half(x: Tensor) -> Tensor:
    x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


def hugging_face(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """apply_rotary_pos_emb of the Llama model."""
    return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin


def tables(length: int, width: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """cos and sin (length, width / 2)."""
    rates = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return angles.cos().to(dtype), angles.sin().to(dtype)


def test_llamas_by_hand() -> None:
    q, k = torch.randn(2, 4, 7, 16), torch.randn(2, 1, 7, 16)
    cos, sin = (torch.cat((t, t), -1)[None, None] for t in tables(7, 16))
    torch.testing.assert_close(apply_rope(q, k, cos, sin), hugging_face(q, k, cos, sin))
    half = tables(7, 16)
    torch.testing.assert_close(apply_rope(q, k, *half, table="half"), apply_rope(q, k, cos, sin))


def test_complex_form_of_llamas_authors() -> None:
    q, k = torch.randn(2, 7, 4, 16), torch.randn(2, 7, 2, 16)
    cos, sin = tables(7, 16)
    freqs = torch.complex(cos, sin)[None, :, None]

    def turned(x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * freqs).flatten(3)

    ours = apply_rope(
        q, k, freqs.real, freqs.imag, layout="interleaved", table="half", dtype=q.dtype
    )
    torch.testing.assert_close(ours, (turned(q), turned(k)))
    wide = (t.repeat_interleave(2, -1) for t in (freqs.real, freqs.imag))
    torch.testing.assert_close(rope(q, *wide, layout="interleaved"), turned(q))


def test_opposite_sign_passes_minus_sin() -> None:
    """x₁ · cos + x₂ · sin, as speed-run GPTs write it."""
    x = torch.randn(2, 7, 4, 16)
    cos, sin = (t[None, :, None] for t in tables(7, 16))
    x1, x2 = x.chunk(2, dim=3)
    theirs = torch.cat((x1 * cos + x2 * sin, x1 * (-sin) + x2 * cos), 3)
    torch.testing.assert_close(rope(x, cos, -sin, table="half"), theirs)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_partial_rotary_copies_the_rest(layout: Any) -> None:
    x = torch.randn(2, 4, 7, 16)
    cos, sin = tables(7, 6)
    y = rope(x, cos, sin, layout=layout, table="half")
    assert torch.equal(y[..., 6:], x[..., 6:])
    assert torch.equal(y[..., :6], rope(x[..., :6], cos, sin, layout=layout, table="half"))


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_both_numbers_of_a_pair_are_read_from_full_tables(layout: Any) -> None:
    """An orthogonal turn of the turned vector, with tables whose halves are not equal."""
    x, cos, sin = torch.randn(3, 5, 8), torch.randn(5, 8), torch.randn(5, 8)
    if layout == "half":
        turned = rotate_half(x)
    else:
        turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).reshape(x.shape)
    torch.testing.assert_close(rope(x, cos, sin, layout=layout), x * cos + turned * sin)


@pytest.mark.parametrize(("x_dtype", "table_dtype"), [*itertools.product(FLOATS, FLOATS)])
def test_rope_dtypes_are_those_of_the_form_by_hand(
    x_dtype: torch.dtype, table_dtype: torch.dtype
) -> None:
    x = torch.randn(2, 5, 8).to(x_dtype)
    cos, sin = (torch.cat((t, t), -1) for t in tables(5, 8, table_dtype))
    by_hand = x * cos + rotate_half(x) * sin
    y = rope(x, cos, sin)
    assert y.dtype == by_hand.dtype
    eps = torch.finfo(y.dtype).eps
    torch.testing.assert_close(y, by_hand, rtol=4 * eps, atol=4 * eps)
    assert rope(x, cos, sin, dtype=x_dtype).dtype == x_dtype


def test_tables_may_add_dimensions_and_batches() -> None:
    x, (cos, sin) = torch.randn(4, 1, 8), tables(5, 8)
    theirs = torch.stack([rope(x.expand(4, 5, 8), cos, sin, table="half")] * 2)
    ours = rope(x, cos.expand(2, 1, 5, 4), sin.expand(2, 1, 5, 4), table="half")
    assert torch.equal(ours, theirs)


def test_rope_gradients_in_float64() -> None:
    q, k = (torch.randn(2, h, 3, 6, dtype=torch.float64, requires_grad=True) for h in (2, 1))
    cos, sin = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for layout in ("half", "interleaved"):
        assert torch.autograd.gradcheck(
            lambda *a: apply_rope(*a, layout=layout),  # noqa: B023
            (q, k, cos, sin),
        )
        assert torch.autograd.gradgradcheck(
            lambda *a: rope(*a, layout=layout, table="half"),  # noqa: B023
            (q, cos[:, :3], sin[:, :3]),
        )


def test_vmap_and_compiled_in_one_graph() -> None:
    gate, up, (cos, sin) = torch.randn(4, 3, 8), torch.randn(4, 3, 8), tables(3, 8)

    def program(gate: Tensor, up: Tensor) -> Tensor:
        y = swiglu(gate, up) + geglu(gate, up, approximate="tanh")
        y = torch.cat((y, swiglu_packed(gate) + geglu_packed(up)), -1)
        q, k = apply_rope(y, up, cos, sin, table="half")
        return q[..., :8] * k

    loop = torch.stack([program(g, u) for g, u in zip(gate, up, strict=True)])
    torch.testing.assert_close(torch.func.vmap(program)(gate, up), loop)
    torch._dynamo.reset()
    up = up.double()  # a mixture of dtypes must be traced too
    loop = torch.stack([program(g, u) for g, u in zip(gate, up, strict=True)])
    for dynamic in (False, True):
        compiled = torch.compile(program, fullgraph=True, dynamic=dynamic, backend="aot_eager")
        torch.testing.assert_close(compiled(gate, up), loop)


def test_dtypes_under_autocast_are_those_of_the_form_by_hand() -> None:
    cos, sin = (torch.cat((t, t), -1) for t in tables(3, 8))
    for dtype, amp in itertools.product(FLOATS, (torch.float16, torch.bfloat16)):
        x, y = torch.randn(3, 8).to(dtype), torch.randn(3, 8)
        with torch.autocast("cpu", amp):
            assert swiglu(x, y).dtype == (F.silu(x) * y).dtype
            assert geglu(x, x).dtype == (F.gelu(x) * x).dtype
            if dtype in (torch.float32, amp):  # torch.cat on the CPU takes no other
                assert rope(x, cos, sin).dtype == (x * cos + rotate_half(x) * sin).dtype


ONES = torch.ones(2, 4)

BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: swiglu(ONES.int(), ONES), "swiglu: gate has dtype torch.int32"),
    (lambda: geglu(ONES, ONES.bool()), "geglu: up has dtype torch.bool"),
    (lambda: swiglu(ONES, ONES.to("meta")), "swiglu: up is on meta"),
    (lambda: swiglu(ONES, ONES[:, :3]), r"gate has shape \(2, 4\), up has shape \(2, 3\)"),
    (lambda: geglu(ONES, ONES, approximate="erf"), "approximate is 'erf'; accepted: 'none'"),  # type: ignore[arg-type]
    (lambda: swiglu_packed(ONES[:, :3]), r"x has shape \(2, 3\); accepted: an even last"),
    (lambda: geglu_packed(torch.ones(())), "geglu_packed: x has shape"),
    (lambda: rope(ONES, ONES, ONES, layout="neox"), "layout is 'neox'; accepted: 'half'"),  # type: ignore[arg-type]
    (lambda: rope(ONES, ONES, ONES, table="quarter"), "table is 'quarter'"),  # type: ignore[arg-type]
    (lambda: rope(ONES, ONES, ONES, dtype=torch.int8), "dtype is torch.int8"),
    (lambda: rope(ONES, ONES, ONES.half()), "sin has shape .* and dtype torch.float16"),
    (lambda: rope(ONES, ONES, ONES[:, :2]), r"sin has shape \(2, 2\)"),
    (lambda: rope(ONES, ONES[:, :3], ONES[:, :3]), "cos has shape .*; accepted: an even last"),
    (lambda: rope(ONES, ONES, ONES, table="half"), "a last dimension of at least 8, the rotary"),
    (lambda: apply_rope(ONES, ONES[:, :2], ONES, ONES), "k has shape .*; accepted: a last"),
    (lambda: apply_rope(ONES, ONES.int(), ONES, ONES), "k has dtype torch.int32"),
    (lambda: rope(ONES, ONES.expand(3, 2, 4)[:, [0] * 3], ONES.expand(3, 2, 4)[:, [0] * 3]),
     "accepted: shapes that broadcast"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_refusals_say_what_is_accepted(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_result_type_is_torchs() -> None:
    for a, b in itertools.product(FLOATS, FLOATS):
        for shapes in itertools.product(((), (2,)), ((), (2,))):
            x, y = torch.ones(shapes[0], dtype=a), torch.ones(shapes[1], dtype=b)
            assert result_type(x, y) == torch.result_type(x, y)
