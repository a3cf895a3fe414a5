"""attention on a GPU: the error law on the native route, and that the route is a fused one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cudalint.kernels import attention
from tests.kernels.error_law import assert_allowed

pytestmark = pytest.mark.gpu

HALVES = (torch.float16, torch.bfloat16)
FUSED = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
]


def operands(
    batch: int = 2, heads: int = 4, queries: int = 200, keys: int | None = None, width: int = 64,
    dtype: torch.dtype = torch.bfloat16, kv_heads: int | None = None,
) -> list[Tensor]:  # fmt: skip
    rng = torch.Generator("cuda").manual_seed(0)
    keys, kv_heads = keys or queries, kv_heads or heads
    shapes = ((heads, queries), (kv_heads, keys), (kv_heads, keys))
    return [
        torch.randn(batch, h, length, width, generator=rng, device="cuda").to(dtype)
        for h, length in shapes
    ]


def fair(
    q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, dy: Tensor, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Attention and its gradients in q's dtype, P and dS rounded to `dtype` as the kernels must."""
    groups = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(groups, 1) for t in (k, v))
    scale = q.shape[-1] ** -0.5
    s = q @ k.mT * scale
    s = s if added is None else s + added.to(s.dtype)
    highest = s.amax(-1, keepdim=True)
    e = torch.exp(s - highest.masked_fill(highest == -torch.inf, 0.0))
    total = e.sum(-1, keepdim=True)
    p = e / total.masked_fill(total == 0.0, 1.0)
    rounded = p.to(dtype).to(p.dtype)
    y = rounded @ v
    dp = dy @ v.mT
    ds = (p * (dp - (dp * p).sum(-1, keepdim=True))).to(dtype).to(p.dtype)
    dk, dv = (t.unflatten(1, (-1, groups)).sum(2) for t in (ds.mT @ q * scale, rounded.mT @ dy))
    return y, ds @ k * scale, dk, dv


def check(
    q: Tensor, k: Tensor, v: Tensor, added: Tensor | None = None, **options: Any
) -> tuple[Tensor, ...]:
    """The error law for the output and each gradient; `added` is the mask that options mean."""
    leaves = [t.detach().requires_grad_() for t in (q, k, v)]
    out = attention(*leaves, **options)
    dy = torch.randn_like(out)
    results = (out.detach(), *torch.autograd.grad(out, leaves, dy))
    near = fair(*(t.float() for t in (q, k, v)), added, dy.float(), q.dtype)
    exact = fair(*(t.double() for t in (q, k, v)), added, dy.double(), torch.float64)
    # torch's float32 kernel makes a product of three TF32 ones: about 1e-6, twice float32's error
    factors = (4.0, 6.0) if q.dtype == torch.float32 else (2.0, 3.0)
    for i, (ours, f, e) in enumerate(zip(results, near, exact, strict=True)):
        assert_allowed(ours, f.to(q.dtype), e, factor=factors[i > 0])
    return results


def causal_mask(queries: int, keys: int, corner: int = 0) -> Tensor:
    seen = torch.ones(queries, keys, device="cuda", dtype=torch.bool).tril(corner)
    return torch.zeros((), device="cuda").where(seen, -torch.inf)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("width", [40, 64, 80, 96, 128, 256])
def test_head_widths(dtype: torch.dtype, width: int) -> None:
    check(*operands(width=width, dtype=dtype), causal_mask(200, 200), is_causal=True)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("causal", [False, True])
def test_group_heads(dtype: torch.dtype, causal: bool) -> None:
    check(
        *operands(kv_heads=2, dtype=dtype),
        causal_mask(200, 200) if causal else None,
        is_causal=causal,
        enable_gqa=True,
    )


# 64, 192 and 320 are 64 modulo 128, where cuDNN's backward with a mask is wrong.
@pytest.mark.parametrize("length", [64, 77, 128, 192, 256, 320])
@pytest.mark.parametrize("kind", ["bool", "added", "float32"])
@pytest.mark.parametrize("gqa", [False, True])
def test_masks_with_rows_that_see_nothing(length: int, kind: str, gqa: bool) -> None:
    q, k, v = operands(queries=length, kv_heads=2 if gqa else 4)
    seen = torch.rand(2, 1, length, length, device="cuda") > 0.3
    seen[:, :, 3] = False
    seen[1, :, :, 5] = False
    added = torch.zeros((), device="cuda").where(seen, -torch.inf)
    mask = {"bool": seen, "added": added.to(q.dtype), "float32": added}[kind]
    out, dq, dk, dv = check(q, k, v, added, attn_mask=mask, enable_gqa=gqa)
    assert bool((out[:, :, 3] == 0).all())
    assert bool((dq[:, :, 3] == 0).all())
    assert bool((dk[1, :, 5] == 0).all()) and bool((dv[1, :, 5] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mask_and_causal_together(dtype: torch.dtype) -> None:
    q, k, v = operands(dtype=dtype)
    padding = torch.ones(2, 1, 1, 200, device="cuda", dtype=torch.bool)
    padding[1, :, :, 150:] = False
    added = causal_mask(200, 200) + torch.zeros((), device="cuda").where(padding, -torch.inf)
    check(q, k, v, added, attn_mask=padding, is_causal=True)


@pytest.mark.parametrize(("queries", "keys"), [(5, 200), (64, 256), (77, 200), (200, 77)])
@pytest.mark.parametrize("align", ["top-left", "bottom-right"])
def test_causal_where_lengths_differ(queries: int, keys: int, align: str) -> None:
    corner = keys - queries if align == "bottom-right" else 0
    added = causal_mask(queries, keys, corner)
    q, k, v = operands(queries=queries, keys=keys)
    check(q, k, v, added, is_causal=True, causal_align=align)


@pytest.mark.parametrize("others", [False, True])
def test_bias_and_its_gradient(others: bool) -> None:
    """Alone too: torch keeps what the backward needs only if q, k or v want a gradient."""
    q, k, v = (t.requires_grad_(others) for t in operands())
    bias = torch.randn(1, 4, 200, 200, device="cuda", dtype=q.dtype, requires_grad=True)
    dy = torch.randn_like(q)
    out = attention(q, k, v, bias=bias)
    (ours,) = torch.autograd.grad(out, bias, dy)
    runs = []
    for wide in (torch.float32, torch.float64):
        leaf = bias.detach().to(wide).requires_grad_()
        near = attention(*(t.detach().to(wide) for t in (q, k, v)), bias=leaf, softcap=1e6)
        runs.append((near.detach(), *torch.autograd.grad(near, leaf, dy.to(wide))))
    (fair_out, fair_grad), (exact_out, exact_grad) = runs
    assert_allowed(out.detach(), fair_out.to(q.dtype), exact_out, factor=3.0)
    assert_allowed(ours, fair_grad.to(q.dtype), exact_grad, factor=3.0)


def by_fused_backends(run: Callable[[], Tensor]) -> Tensor:
    """`run()` where MATH is not to be had: it raises if nothing else takes the case."""
    with sdpa_kernel(FUSED):
        return run()


FUSED_CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "dropout": {"dropout_p": 0.1},
    "scale": {"scale": 0.2},
    "causal, bottom right": {"is_causal": True, "causal_align": "bottom-right"},
    "window that is open": {"window": (-1, -1)},
}


@pytest.mark.parametrize("name", FUSED_CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plain_cases_are_fused(name: str, dtype: torch.dtype) -> None:
    options = FUSED_CASES[name]
    q, k, v = operands(queries=128, keys=256, dtype=dtype)
    by_fused_backends(lambda: attention(q, k, v, **options))
    by_fused_backends(lambda: attention(q[0], k[0], v[0], **options))  # (heads, length, width)
    loose = k.mT.contiguous().mT  # its last dimension is not dense
    by_fused_backends(lambda: attention(q, loose, v, **options))
    five = [t[None].expand(2, -1, -1, -1, -1) for t in (q, k, v)]
    by_fused_backends(lambda: attention(*five, **options))
    by_fused_backends(lambda: attention(q, k[:, :2], v[:, :2], enable_gqa=True, **options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gqa", [False, True])
@pytest.mark.parametrize("shape", [(128, 256), (2, 1, 1, 256), (2, 4, 128, 256), (1, 256)])
def test_masks_are_fused(dtype: torch.dtype, gqa: bool, shape: tuple[int, ...]) -> None:
    q, k, v = operands(queries=128, keys=256, dtype=dtype, kv_heads=2 if gqa else 4)
    seen = torch.rand(shape, device="cuda") > 0.3
    for mask in (seen, torch.randn(shape, device="cuda").to(dtype)):
        by_fused_backends(lambda m=mask: attention(q, k, v, m, enable_gqa=gqa))  # type: ignore[misc]


@pytest.mark.parametrize("amp", [None, *HALVES])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("options", [{}, {"softcap": 20.0}, {"is_causal": True}])
def test_dtype_under_autocast_is_the_hand_written_forms(
    amp: torch.dtype | None, dtype: torch.dtype, options: dict[str, Any]
) -> None:
    q, k, v = operands(queries=32, dtype=dtype)
    with torch.autocast("cuda", amp or torch.float16, enabled=amp is not None):
        by_hand = torch.softmax(q @ k.mT, -1).to(q.dtype if amp is None else amp) @ v
        assert attention(q, k, v, **options).dtype == by_hand.dtype


@pytest.mark.parametrize(
    "options",
    [{"is_causal": True}, {"enable_gqa": True, "attn_mask": True}],
    ids=str,
)
def test_compiled_in_one_graph(options: dict[str, Any]) -> None:
    torch._dynamo.reset()
    options = dict(options)
    q, k, v = operands(queries=192, kv_heads=2 if "enable_gqa" in options else 4)
    if "attn_mask" in options:
        options["attn_mask"] = torch.rand(192, 192, device="cuda") > 0.3
    leaves = [t.requires_grad_() for t in (q, k, v)]
    compiled = torch.compile(lambda *t: attention(*t, **options), fullgraph=True)
    ours, theirs = compiled(*leaves), attention(*leaves, **options)
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=1e-2)
    dy = torch.randn_like(ours)
    gradients = (torch.autograd.grad(out, leaves, dy) for out in (ours, theirs))
    torch.testing.assert_close(*gradients, rtol=2e-2, atol=2e-2)


def test_dropout_rate_scale_and_seed() -> None:
    q, k = torch.zeros(2, 1, 4, 256, 64, device="cuda", dtype=torch.bfloat16)
    v = torch.eye(256, 256, device="cuda", dtype=q.dtype).expand(1, 4, 256, 256)
    torch.manual_seed(0)
    first = attention(q, k, v, dropout_p=0.25) * 256
    assert first.eq(0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert first[first != 0].double().mean().item() == pytest.approx(1 / 0.75, rel=0.01)
    assert not torch.equal(first, attention(q, k, v, dropout_p=0.25) * 256)
    torch.manual_seed(0)
    assert torch.equal(first, attention(q, k, v, dropout_p=0.25) * 256)
