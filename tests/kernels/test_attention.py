"""attention on the CPU: the reference against code that is not ours, the routes, the odd cases."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from cudalint.kernels import attention
from cudalint.kernels._attention import function, native, reference, written

B, H, LQ, LK, D = 2, 4, 9, 13, 16


def operands(
    dtype: torch.dtype = torch.float64, queries: int = LQ, keys: int = LK, kv_heads: int = H
) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)

    return normal(B, H, queries, D), normal(B, kv_heads, keys, D), normal(B, kv_heads, keys, D)


@pytest.fixture(params=["reference", "native", "written"])
def both_routes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a plain case on the native route, with its scores written too, and on the reference."""
    if request.param == "reference":
        monkeypatch.setattr(native, "is_native", lambda options: False)
    if request.param == "written":
        monkeypatch.setattr(written, "is_faster", lambda q, k, causal: not causal)


def lower_right(queries: int, keys: int) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


MASKS: dict[str, Tensor | None] = {
    "none": None,
    "bool": torch.rand(LQ, LK, generator=torch.Generator().manual_seed(1)) > 0.3,
    "bool per head": torch.rand(1, H, LQ, LK, generator=torch.Generator().manual_seed(2)) > 0.3,
    "added": torch.randn(B, 1, 1, LK, generator=torch.Generator().manual_seed(3)).double(),
}
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


@masks
@pytest.mark.usefixtures("both_routes")
def test_masks_and_scale_are_torchs(mask: Tensor | None) -> None:
    q, k, v = operands()
    for scale in (None, 0.3):
        ours = attention(q, k, v, mask, scale=scale)
        torch.testing.assert_close(ours, F.scaled_dot_product_attention(q, k, v, mask, scale=scale))


@masks
@pytest.mark.usefixtures("both_routes")
def test_mask_and_causal_together(mask: Tensor | None) -> None:
    q, k, v = operands()
    for align, corner in (("top-left", 0), ("bottom-right", LK - LQ)):
        seen = torch.ones(LQ, LK, dtype=torch.bool).tril(corner)
        if mask is None:
            merged = seen
        else:
            merged = mask & seen if mask.dtype == torch.bool else mask.where(seen, -torch.inf)
        ours = attention(q, k, v, mask, is_causal=True, causal_align=align)  # type: ignore[arg-type]
        torch.testing.assert_close(ours, F.scaled_dot_product_attention(q, k, v, merged))


@pytest.mark.usefixtures("both_routes")
def test_bias_and_mask_are_added() -> None:
    q, k, v = operands()
    bias = torch.randn(H, LQ, LK, dtype=torch.float64)
    for mask in (MASKS["bool"], MASKS["added"]):
        assert mask is not None
        merged = bias.where(mask, -torch.inf) if mask.dtype == torch.bool else bias + mask
        theirs = F.scaled_dot_product_attention(q, k, v, merged)
        torch.testing.assert_close(attention(q, k, v, mask, bias=bias), theirs)


@pytest.mark.usefixtures("both_routes")
def test_query_head_h_reads_key_head_h_over_groups() -> None:
    q, k, v = operands(kv_heads=2)
    repeated = (t.repeat_interleave(2, dim=1) for t in (k, v))
    theirs = F.scaled_dot_product_attention(q, *repeated)
    torch.testing.assert_close(attention(q, k, v, enable_gqa=True), theirs)
    with pytest.raises(ValueError, match="enable_gqa=True"):
        attention(q, k, v)


@masks
@pytest.mark.parametrize("kv_heads", [H, 2, 1])
@pytest.mark.parametrize("transposed", [False, True])
def test_written_scores_take_groups_strides_and_a_soft_cap(
    mask: Tensor | None, kv_heads: int, transposed: bool
) -> None:
    leaves = [t.requires_grad_() for t in operands(kv_heads=kv_heads)]
    q, k, v = (t.mT.contiguous().mT if transposed else t for t in leaves)
    for softcap in (None, 2.0):
        options = reference.Options(
            mask, 0.0, False, None, True, None, softcap, None, None, None, "top-left"
        )
        ours = written.attention(q, k, v, mask, options)
        fair = reference.attention(q, k, v, options)
        torch.testing.assert_close(ours, fair)
        dy = torch.randn_like(fair)
        found, expected = (torch.autograd.grad(out, leaves, dy) for out in (ours, fair))
        torch.testing.assert_close(found, expected)
    if transposed and kv_heads == H and mask is None:
        assert ours.stride(-2) == 1


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 2, 3, 5), (2, 1, 2, 3, 5)])
@pytest.mark.usefixtures("both_routes")
def test_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    q, k, v = (torch.randn(*shape, 8, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(*shape[1:], 5) > 0.3 if len(shape) < 4 else None
    if mask is not None:
        mask = mask if len(shape) > 1 else None
    theirs = F.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(attention(q, k, v, mask), theirs)


@pytest.mark.usefixtures("both_routes")
def test_a_mask_with_five_dimensions_broadcasts() -> None:
    q, k, v = (torch.randn(2, 3, 2, 5, 8, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(2, 1, 2, 5, 5) > 0.3
    torch.testing.assert_close(
        attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, mask)
    )


@pytest.mark.usefixtures("both_routes")
def test_rows_that_are_not_dense() -> None:
    q, k, v = operands()
    loose = torch.empty(B, H, D, LK, dtype=torch.float64).transpose(-1, -2).copy_(k)
    assert loose.stride(-1) != 1
    torch.testing.assert_close(attention(q, loose, v), attention(q, k, v))


@pytest.mark.parametrize("kind", ["bool", "added"])
@pytest.mark.usefixtures("both_routes")
def test_a_query_that_sees_nothing_gives_zero_and_zero_gradients(kind: str) -> None:
    q, k, v = (t.requires_grad_() for t in operands())
    mask = torch.ones(LQ, LK, dtype=torch.bool)
    mask[3] = False
    if kind == "added":
        mask = torch.zeros(LQ, LK).double().masked_fill(~mask, -torch.inf)
    out = attention(q, k, v, mask)
    assert bool((out[:, :, 3] == 0).all())
    out.backward(torch.randn_like(out))
    assert q.grad is not None and bool((q.grad[:, :, 3] == 0).all())
    assert all(t.grad is not None and bool(t.grad.isfinite().all()) for t in (q, k, v))


def test_more_queries_than_keys_bottom_right_leaves_rows_without_keys() -> None:
    q, k, v = operands(queries=LK, keys=LQ)
    out = attention(q, k, v, is_causal=True, causal_align="bottom-right")
    assert bool((out[:, :, : LK - LQ] == 0).all())
    torch.testing.assert_close(
        out[:, :, LK - LQ :],
        F.scaled_dot_product_attention(q[:, :, LK - LQ :], k, v, is_causal=True),
    )


def test_no_keys_at_all_give_zero() -> None:
    q, k, v = operands(keys=0)
    assert bool((attention(q, k, v) == 0).all())


# torch's flex_attention says the same in its own words; unfused, it runs anywhere.
def flex(q: Tensor, k: Tensor, v: Tensor, score: Any, gqa: bool = False) -> Tensor:
    out = flex_attention(q, k, v, score_mod=score, enable_gqa=gqa)
    assert isinstance(out, Tensor)
    return out


def test_softcap_comes_before_bias_and_mask() -> None:
    q, k, v = operands()
    bias = torch.randn(LQ, LK, dtype=torch.float64)

    def score(s: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return torch.where(j <= i + 5, 2.0 * torch.tanh(s / 2.0) + bias[i, j], -torch.inf)

    mask = torch.arange(LK)[None, :] <= torch.arange(LQ)[:, None] + 5
    ours = attention(q, k, v, mask, softcap=2.0, bias=bias)
    torch.testing.assert_close(ours, flex(q, k, v, score))


@pytest.mark.parametrize("window", [(2, 0), (3, 1), (-1, 1), (2, -1), (0, 0)])
@pytest.mark.parametrize("align", ["top-left", "bottom-right"])
@pytest.mark.parametrize("causal", [False, True])
def test_window(window: tuple[int, int], align: str, causal: bool) -> None:
    q, k, v = operands()
    shift = LK - LQ if align == "bottom-right" else 0
    left, right = (2**30 if side < 0 else side for side in window)

    def score(s: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        seen = (j - i - shift >= -left) & (j - i - shift <= right)
        return torch.where(seen & ((j <= i + shift) | (not causal)), s, -torch.inf)

    ours = attention(q, k, v, is_causal=causal, window=window, causal_align=align)  # type: ignore[arg-type]
    torch.testing.assert_close(ours, flex(q, k, v, score))


def test_a_sliding_window_of_w_is_w_minus_one_and_zero() -> None:
    """As transformers' sliding_window_mask: keys with q − w < k ≤ q."""
    q, k, v = operands(queries=LK)
    i, j = torch.arange(LK)[:, None], torch.arange(LK)[None, :]
    theirs = F.scaled_dot_product_attention(q, k, v, (j <= i) & (j > i - 4))
    torch.testing.assert_close(attention(q, k, v, is_causal=True, window=(3, 0)), theirs)


@pytest.mark.parametrize("batched", [False, True])
def test_alibi_counts_from_the_last_key(batched: bool) -> None:
    q, k, v = operands()
    slopes = torch.rand((B, H) if batched else H, dtype=torch.float64)

    def score(s: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        slope = slopes[b, h] if batched else slopes[h]
        return s - slope * (i + LK - LQ - j).abs()

    torch.testing.assert_close(
        attention(q, k, v, alibi_slopes=slopes), flex(q, k, v, score), rtol=1e-6, atol=1e-6
    )


def test_sinks_join_the_denominator_only() -> None:
    """As gpt-oss: one more column of scores, dropped after the softmax."""
    q, k, v = operands(kv_heads=2)
    sinks = torch.randn(H, dtype=torch.float64)
    scores = q @ k.repeat_interleave(2, 1).mT * D**-0.5
    column = sinks[None, :, None, None].expand(B, H, LQ, 1)
    weights = torch.softmax(torch.cat([scores, column], -1), -1)[..., :-1]
    theirs = weights @ v.repeat_interleave(2, 1)
    torch.testing.assert_close(attention(q, k, v, sinks=sinks, enable_gqa=True), theirs)


def test_sinks_of_a_query_that_sees_nothing() -> None:
    q, k, v = operands()
    mask = torch.zeros(LQ, LK, dtype=torch.bool)
    sinks = torch.zeros(H, dtype=torch.float64)
    assert bool((attention(q, k, v, mask, sinks=sinks) == 0).all())


ALL = {
    "softcap": 3.0,
    "window": (4, 1),
    "causal_align": "bottom-right",
    "is_causal": True,
    "enable_gqa": True,
}


def test_gradients_of_the_reference() -> None:
    q, k, v = (t[:1, :, :5, :3].detach().requires_grad_() for t in operands(kv_heads=2))
    bias = torch.randn(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    sinks = torch.randn(H, dtype=torch.float64, requires_grad=True)
    slopes = torch.rand(H, dtype=torch.float64)

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, sinks: Tensor) -> Tensor:
        return attention(q, k, v, bias=bias, sinks=sinks, alibi_slopes=slopes, **ALL)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(run, (q, k, v, bias, sinks))
    assert torch.autograd.gradgradcheck(run, (q, k, v, bias, sinks))


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ({}, "native"),
        ({"is_causal": True, "scale": 0.1}, "native"),
        ({"window": (-1, -1)}, "native"),
        ({"bias": torch.zeros(LQ, LK).double()}, "native"),
        ({"dropout_p": 0.5}, "native"),
        ({"bias": torch.zeros(LQ, LK).double(), "dropout_p": 0.5}, "reference"),
        ({"softcap": 30.0}, "reference"),
        ({"window": (3, 0)}, "reference"),
        ({"alibi_slopes": torch.ones(H)}, "reference"),
        ({"sinks": torch.ones(H)}, "reference"),
    ],
)
def test_routes(options: dict[str, Any], runs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = operands()
    taken: list[str] = []
    for name, module in (("native", native), ("reference", reference)):
        real = module.attention
        monkeypatch.setattr(
            getattr(function, name),
            "attention",
            lambda *arguments, name=name, real=real: (taken.append(name), real(*arguments))[1],
        )
    attention(q, k, v, **options)
    assert taken == [runs]


@pytest.mark.parametrize("bias", [None, torch.zeros(64, 512)])
def test_dropout_keeps_the_mean_and_drops_the_share(bias: Tensor | None) -> None:
    torch.manual_seed(0)
    q, k = torch.zeros(1, 2, 64, 8), torch.zeros(1, 2, 512, 8)
    v = torch.eye(512).expand(1, 2, 512, 512)
    weights = attention(q, k, v, dropout_p=0.25, bias=bias) * 512
    assert weights.eq(0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert weights[weights != 0].sub(1 / 0.75).abs().max().item() < 1e-5
    assert not torch.equal(weights[0, 0], weights[0, 1])
    torch.manual_seed(0)
    assert torch.equal(attention(q, k, v, dropout_p=0.25, bias=bias) * 512, weights)


def test_dropout_has_one_mask_forward_and_backward() -> None:
    q, k = torch.randn(1, 1, 16, 8), torch.randn(1, 1, 32, 8)
    v = torch.eye(32).expand(1, 1, 32, 32).clone().requires_grad_()
    out = attention(q, k, v, dropout_p=0.5, softcap=5.0)
    (dv,) = torch.autograd.grad(out, v, torch.eye(16, 32).expand_as(out))
    torch.testing.assert_close(dv[0, 0, :, :16].t(), out[0, 0].detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"softcap": 5.0}])
def test_result_has_querys_dtype_and_autocasts_under_autocast(
    dtype: torch.dtype, options: dict[str, Any]
) -> None:
    q, k, v = operands(dtype)
    assert attention(q, k, v, **options).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(q, k, v, **options)
        assert out.dtype == torch.matmul(q, k.mT).dtype == torch.bfloat16
    fair = attention(*(t.bfloat16() for t in (q, k, v)), **options)
    torch.testing.assert_close(out, fair)


def test_masks_of_a_wider_dtype_keep_finite_rows_finite() -> None:
    q, k, v = operands(torch.bfloat16)
    mask = torch.full((LQ, LK), torch.finfo(torch.float32).min)
    torch.testing.assert_close(attention(q, k, v, mask), v.mean(2, True).expand(B, H, LQ, D))


@pytest.mark.parametrize("options", [{"is_causal": True}, {"softcap": 5.0, "window": (3, 0)}])
def test_vmap_is_a_loop(options: dict[str, Any]) -> None:
    q, k, v = (torch.randn(3, 2, 5, 8) for _ in range(3))
    batched = torch.func.vmap(lambda *t: attention(*t, **options))(q, k, v)
    loop = torch.stack([attention(*t, **options) for t in zip(q, k, v, strict=True)])
    torch.testing.assert_close(batched, loop)


@pytest.mark.parametrize("options", [{"is_causal": True}, ALL])
def test_compiles_in_one_graph(options: dict[str, Any]) -> None:
    torch._dynamo.reset()
    kv_heads = 2 if "enable_gqa" in options else H
    q, k, v = operands(torch.float32, kv_heads=kv_heads)
    compiled = torch.compile(lambda *t: attention(*t, **options), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(q, k, v), attention(q, k, v, **options))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"scale": torch.ones(())}, "scale is a tensor"),
    ({"dropout_p": 1.5}, "dropout_p is 1.5; accepted: 0 to 1"),
    ({"softcap": 0.0}, "softcap is 0.0; accepted: None or above 0"),
    ({"window": (-2, 0)}, r"window is \(-2, 0\)"),
    ({"causal_align": "left"}, "causal_align is 'left'"),
    ({"attn_mask": torch.ones(3, 3)}, r"attn_mask has shape \(3, 3\)"),
    ({"attn_mask": torch.ones(LQ, LK, dtype=torch.int64)}, "attn_mask has dtype torch.int64"),
    ({"bias": torch.ones(LQ, LK, dtype=torch.bool)}, "bias has dtype torch.bool"),
    ({"sinks": torch.ones(H + 1)}, r"sinks has shape \(5,\)"),
    ({"alibi_slopes": torch.ones(1, H)}, r"alibi_slopes has shape \(1, 4\)"),
    ({"key": torch.ones(B, H, LK, D)}, "key has dtype torch.float32; accepted: query's"),
    ({"key": torch.ones(H, LK, D).double()}, "key has 3 dimensions"),
    ({"key": torch.ones(B, H, LK, D + 1).double()}, "have shapes"),
    ({"query": torch.ones(3).double()}, "dimensions"),
    ({"query": torch.ones(B, H, LQ, D, dtype=torch.int32)}, "query has dtype torch.int32"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[m for _, m in BAD])
def test_refusals_say_what_is_accepted(change: dict[str, Any], message: str) -> None:
    q, k, v = operands()
    with pytest.raises(ValueError, match=message):
        attention(**({"query": q, "key": k, "value": v} | change))


@pytest.mark.parametrize("choose", ["fp32_precision", "allow_tf32"])
def test_tf32_is_read_however_it_was_chosen(choose: str) -> None:
    """In a process of its own, as the choice is the process's; while compiling too."""
    value = "'tf32'" if choose == "fp32_precision" else "True"
    script = f"""
import torch
from cudalint.kernels._dispatch import allows_tf32
assert not allows_tf32()
torch.backends.cuda.matmul.{choose} = {value}
assert allows_tf32()
twice = torch.compile(lambda x: x * 2 if allows_tf32() else x, backend="eager", fullgraph=True)
assert twice(torch.ones(2))[0] == 2
"""
    subprocess.run([sys.executable, "-c", script], check=True)
