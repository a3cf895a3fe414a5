"""Each spelling of attention is found, rewritten, and computes the same afterwards."""

from __future__ import annotations

from textwrap import indent

import pytest

from tests.harness.linting import fixed

torch = pytest.importorskip("torch")

HEADER = """\
import math
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import einsum

NEGATIVE = -1e9


def attend(q, k, v, mask=None, bias=None, causal=False, scale: float = 0.3):
"""
# (b, h, t, d): queries and keys of one length, and of two.
SQUARE = ((2, 3, 6, 8), (2, 3, 6, 8))
CROSS = ((2, 3, 5, 8), (2, 3, 7, 8))
FLAT = ((4, 5, 8), (4, 7, 8))
HEADS_INSIDE = ((2, 5, 3, 8), (2, 7, 3, 8))
CHANNELS = ((4, 8, 6), (4, 8, 6))

BODIES = {
    "default scale": (CROSS, "return (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1) @ v"),
    "scale on the keys": (CROSS, "return (q @ (k * scale).transpose(-2, -1)).softmax(-1) @ v"),
    "scale on both": (CROSS, "return ((q * 0.5) @ (k * 0.5).transpose(2, 3)).softmax(-1) @ v"),
    "scale in line": (CROSS, "return ((q * scale) @ k.transpose(-2, -1)).softmax(-1) @ v"),
    "two scales": (CROSS, "s = q @ k.mT * scale\ns = s / 2.0\nreturn F.softmax(s, dim=-1) @ v"),
    "tensor scale": (
        CROSS,
        "self_scale = torch.sqrt(torch.tensor(8.0))\ns = q @ k.mT / self_scale\nreturn s.softmax(-1) @ v",
    ),
    "maximum taken off": (
        CROSS,
        "s = q @ k.mT\ns = s - s.amax(dim=-1, keepdim=True).detach()\nreturn s.softmax(-1) @ v",
    ),
    "additive mask": (
        CROSS,
        "m = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))\n"
        "s = torch.matmul(q, k.transpose(-1, -2))\ns += m\nreturn torch.matmul(s.softmax(-1), v)",
    ),
    "mask and bias": (
        CROSS,
        "s = q @ k.mT * scale + bias\ns = s.masked_fill(mask == 0, NEGATIVE)\nreturn s.softmax(-1) @ v",
    ),
    "kept where true": (
        CROSS,
        "s = torch.where(mask, q @ k.mT, float('-inf'))\nreturn torch.softmax(s, -1) @ v",
    ),
    "dropped where true": (
        CROSS,
        "hidden = ~mask\ns = torch.where(hidden, -math.inf, q @ k.mT)\nreturn torch.softmax(s, -1) @ v",
    ),
    "mask that may be None": (
        CROSS,
        "s = q @ k.mT\nif mask is not None:\n    s = s.masked_fill(mask.logical_not(), -torch.inf)\n"
        "if bias is not None:\n    s = s + bias\nreturn s.softmax(-1) @ v",
    ),
    "causal flag": (
        SQUARE,
        "b, h, t, d = q.shape\nq = q.view(b, h, t, d)\nk = k.view(b, h, t, d)\ns = q @ k.mT\n"
        "if causal:\n    s = s.masked_fill(torch.ones(t, t).triu(1).bool(), float('-inf'))\n"
        "return s.softmax(-1) @ v",
    ),
    "causal always": (
        SQUARE,
        "b, h, t, d = q.shape\nk = k.reshape(b, h, t, d)\nkeep = torch.tril(torch.ones(t, t))\n"
        "s = (q @ k.mT).masked_fill(keep == 0, -torch.inf)\nreturn s.softmax(-1) @ v",
    ),
    "added triangle": (
        SQUARE,
        "b, h, t, d = q.shape\nk = k.reshape(b, h, t, d)\n"
        "future = torch.triu(torch.full((t, t), float('-inf')), diagonal=1)\n"
        "return (q @ k.mT + future).softmax(-1) @ v",
    ),
    "soft cap": (
        CROSS,
        "s = q @ k.mT * scale\ns = 5.0 * torch.tanh(s / 5.0)\nreturn s.softmax(-1) @ v",
    ),
    "baddbmm": (
        FLAT,
        "s = torch.baddbmm(torch.zeros(4, 5, 7), q, k.transpose(1, 2), beta=0, alpha=scale)\n"
        "return torch.bmm(s.softmax(-1), v)",
    ),
    "bmm with a positive dim": (
        FLAT,
        "w = torch.bmm(q, k.permute(0, 2, 1))\nw = F.softmax(w, dim=2)\nreturn w.bmm(v)",
    ),
    "upcast and back": (
        CROSS,
        "s = (q @ k.mT).float()\nw = nn.Softmax(dim=-1)(s).type_as(q)\nreturn w @ v",
    ),
    "operands upcast": (
        CROSS,
        "w = (q.float() @ k.float().mT).softmax(-1)\nw = w.to(v.dtype)\nreturn w @ v",
    ),
    "heads inside": (
        HEADS_INSIDE,
        "w = torch.einsum('bqhd,bkhd->bhqk', q * scale, k).softmax(-1)\n"
        "return einsum('bhqk,bkhd->bqhd', w, v)",
    ),
    "heads last": (
        HEADS_INSIDE,
        "w = einsum('bqhd,bkhd->bqkh', q, k).softmax(dim=2)\nreturn einsum('bqkh,bkhd->bqhd', w, v)",
    ),
    "transposed by hand": (
        HEADS_INSIDE,
        "q, k, v = (t.transpose(1, 2) for t in (q, k, v))\n"
        "return ((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2)",
    ),
    "keys permuted at once": (
        HEADS_INSIDE,
        "q = q.permute(0, 2, 1, 3)\nk = k.permute(0, 2, 3, 1)\nv = v.permute(0, 2, 1, 3)\n"
        "return torch.matmul(torch.matmul(q, k).softmax(dim=-1), v).permute(0, 2, 1, 3)",
    ),
    "channels first": (
        CHANNELS,
        "w = torch.einsum('bct,bcs->bts', q * scale, k * scale).softmax(dim=-1)\n"
        "return torch.einsum('bts,bcs->bct', w, v)",
    ),
    "values on the left": (
        CHANNELS,
        "w = torch.bmm(q.permute(0, 2, 1), k).softmax(2)\nreturn torch.bmm(v, w.permute(0, 2, 1))",
    ),
    "one head of keys": (
        CROSS,
        "k, v = k[:, 0], v[:, 0]\nw = einsum('b h i d, b j d -> b h i j', q, k).softmax(dim=-1)\n"
        "return einsum('b h i j, b j d -> b h i d', w, v)",
    ),
    "dropout that is off": (
        CROSS,
        "w = (q @ k.mT).softmax(-1)\nw = F.dropout(w, p=0.1, training=causal)\nreturn w @ v",
    ),
    "names bound again": (
        CROSS,
        "x = q @ k.mT\nx = x * scale\nx = x.softmax(-1)\nx = x @ v\nreturn x",
    ),
    "linear layers in line": (
        CROSS,
        "w = F.linear(q, torch.eye(8)) @ k.transpose(-2, -1)\nreturn w.softmax(dim=-1) @ v",
    ),
}


# Programs whose own tensors are float32: in bfloat16 they raise, or give float32, before any fix.
FLOAT32 = {"additive mask", "added triangle", "baddbmm", "linear layers in line"}


def _computed(
    text: str,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    masked: bool,
    dtype: torch.dtype = torch.float32,
) -> list[torch.Tensor]:
    space: dict[str, object] = {}
    exec(compile(text, "program", "exec"), space)
    torch.manual_seed(0)
    narrow = torch.float32 if dtype == torch.float32 else torch.bfloat16
    drawn = [torch.randn(s).to(narrow) for s in (shapes[0], shapes[1], shapes[1])]
    q, k, v = (x.to(dtype).requires_grad_() for x in drawn)
    rows, columns = shapes[0][-2], shapes[1][-2]
    mask = torch.rand(shapes[0][0], 1, rows, columns) > 0.3
    mask[..., 0] = True
    results = []
    some = {"mask": mask, "bias": torch.randn(rows, columns).to(narrow).to(dtype)}
    for given in (some,) if masked else (some, {}):
        results.append(space["attend"](q, k, v, **given))  # type: ignore[operator]
    sum(y.square().sum() for y in results).backward()
    return [*results, *(t.grad for t in (q, k, v) if t.grad is not None)]


@pytest.mark.parametrize("source", ["cudalint", "torch"])
@pytest.mark.parametrize("name", BODIES)
def test_a_rewritten_attention_computes_the_same(name: str, source: str) -> None:
    shapes, body = BODIES[name]
    text = HEADER + indent(body, "    ") + "\n"
    done = fixed(text, ("CUF001",), config=f'kernel-source = "{source}"')
    after = done.source.text.decode()
    if source == "torch" and name in ("soft cap", "mask and bias", "mask that may be None"):
        assert after == text
        return
    function = "attention(" if source == "cudalint" else "F.scaled_dot_product_attention("
    assert function in after and "softmax" not in after, after
    masked = "mask" in body and "is not None" not in body
    before, now = _computed(text, shapes, masked), _computed(after, shapes, masked)
    assert len(before) == len(now)
    for a, c in zip(before, now, strict=True):
        torch.testing.assert_close(c, a, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("lines", "config", "written"),
    [
        ("", "", False),
        ("# not in bfloat16\n", "", False),
        ("", "precision-policy = 'bf16'", True),
        ("q = q.to(torch.bfloat16)\nk, v = k.to(q.dtype), v.to(q.dtype)\n", "", True),
        ("", "assume-compiled = false", True),
        ("", "kernel-source = 'cudalint'", True),
    ],
)
def test_compiled_in_float32_torchs_function_is_not_written(
    lines: str, config: str, written: bool
) -> None:
    """Where inductor leaves the products to cuBLAS, which is faster."""
    body = lines + "return (q @ k.mT * scale).softmax(-1) @ v"
    text = HEADER + indent(body, "    ") + "\n"
    config = f"kernel-source = 'torch'; assume-compiled = true; {config}"
    after = fixed(text, ("CUF001",), config=config).source.text.decode()
    assert (after != text) is written


def test_compiled_in_float32_the_causal_half_is_still_left_to_torch() -> None:
    text = HEADER + indent(BODIES["causal flag"][1], "    ") + "\n"
    config = "kernel-source = 'torch'; assume-compiled = true"
    assert "is_causal=" in fixed(text, ("CUF001",), config=config).source.text.decode()


@pytest.mark.parametrize("name", sorted(BODIES.keys() - FLOAT32))
def test_a_rewritten_attention_computes_the_same_in_bfloat16(name: str) -> None:
    """As near to the program in float64 as the program itself, twice over."""
    shapes, body = BODIES[name]
    text = HEADER + indent(body, "    ") + "\n"
    after = fixed(text, ("CUF001",)).source.text.decode()
    masked = "mask" in body and "is not None" not in body
    before, now = (_computed(t, shapes, masked, torch.bfloat16) for t in (text, after))
    wide = text.replace(".float()", ".double()")
    exact = _computed(wide, shapes, masked, torch.float64)
    for ours, theirs, true in zip(now, before, exact, strict=True):
        assert ours.dtype == theirs.dtype
        floor = 2 * torch.finfo(torch.bfloat16).eps * true.abs().max()
        assert (ours - true).abs().max() <= 2 * (theirs - true).abs().max() + floor
