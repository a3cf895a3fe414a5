"""The operations as people write them: what the fixes replace."""
# cudalint: file-ignore[CUF]

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    input_dtype = x.dtype
    hidden = x.to(torch.float32)
    variance = hidden.pow(2).mean(-1, keepdim=True)
    hidden = hidden * torch.rsqrt(variance + 1e-6)
    return weight * hidden.to(input_dtype)


def softmax(x: Tensor) -> Tensor:
    e = torch.exp(x - x.max(dim=-1, keepdim=True).values)
    return e / e.sum(dim=-1, keepdim=True)


def log_softmax(x: Tensor) -> Tensor:
    shifted = x - x.max(dim=-1, keepdim=True).values
    return shifted - torch.exp(shifted).sum(dim=-1, keepdim=True).log()


def attention(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    return torch.softmax(scores, dim=-1) @ value


def scored_attention(
    query: Tensor, key: Tensor, value: Tensor, *, window: tuple[int, int] | None = None,
    is_causal: bool = False, softcap: float | None = None, alibi_slopes: Tensor | None = None,
    sinks: Tensor | None = None, bias: Tensor | None = None, dropout_p: float = 0.0,
) -> Tensor:  # fmt: skip
    """One length for queries and keys; a window ends at the query."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    place = torch.arange(scores.shape[-1], device=query.device)
    ahead = place - place[:, None]
    if alibi_slopes is not None:
        scores = scores + (alibi_slopes[:, None, None] * ahead).to(scores.dtype)
    if is_causal or window is not None:
        hidden = ahead > 0 if window is None else (ahead > 0) | (ahead < -window[0])
        scores = scores.masked_fill(hidden, -torch.inf)
    if sinks is not None:
        column = sinks[None, :, None, None].expand(*scores.shape[:-1], 1).to(scores.dtype)
        scores = torch.cat([scores, column], dim=-1)
    weights = torch.softmax(scores, dim=-1)
    if sinks is not None:
        weights = weights[..., :-1]
    if dropout_p:
        weights = F.dropout(weights, dropout_p)
    return weights @ value


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def geglu(gate: Tensor, up: Tensor) -> Tensor:
    return F.gelu(gate, approximate="tanh") * up


def geglu_erf(gate: Tensor, up: Tensor) -> Tensor:
    return F.gelu(gate) * up


def geglu_packed(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, dim=-1)
    return F.gelu(gate) * up


def swiglu_packed(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


def apply_rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return q * cos + _rotate_half(q) * sin, k * cos + _rotate_half(k) * sin


def _rotate_half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rope_interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x[..., ::2], x[..., 1::2]
    return x * cos + torch.stack((-second, first), -1).flatten(-2) * sin


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), target)


def linear_cross_entropy(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(x, weight).float(), target)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).pow(2).mean(-1, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 1e-6) * weight + bias


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    hidden = x + residual
    return rms_norm(hidden, weight), hidden


def add_layer_norm(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    hidden = x + residual
    return F.layer_norm(hidden, (x.shape[-1],), weight, bias, 1e-6), hidden


def ada_layer_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), eps=1e-6) * (1 + scale) + shift


def ada_rms_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    normed = x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
    return normed * (1 + scale) + shift


def gated_residual(residual: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    return residual + gate * y


def gated_residual_ada_layer_norm(
    residual: Tensor, y: Tensor, gate: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    hidden = residual + gate * y
    return ada_layer_norm(hidden, scale, shift), hidden
