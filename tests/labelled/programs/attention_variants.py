"""Attention as it is spelled in the field: fused with a fallback, by versions, and by hand."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from packaging import version

try:
    from flash_attn import flash_attn_func
except ImportError:
    flash_attn_func = None

HAS_SDPA = version.parse(torch.__version__) >= version.parse("2.0.0")


class FlashOrManual(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).unbind(2)
        if flash_attn_func is not None:
            return flash_attn_func(q, k, v, causal=True).reshape(b, n, c)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        att = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # silent: CUF001 the fallback where the import fails
        att = att + torch.full((n, n), -torch.inf, device=x.device).triu(1)
        return (att.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c)


def attend_by_version(q, k, v, mask=None):
    if HAS_SDPA:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    sim = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5  # silent: CUF001 for an older torch
    if mask is not None:
        sim = sim.masked_fill(~mask, float("-inf"))
    return torch.einsum("bhij,bhjd->bhid", sim.softmax(dim=-1), v)


def attend_scriptable(q, k, v):
    if torch.jit.is_scripting():
        w = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)), dim=-1)  # silent: CUF001 for the scripted module
        return w @ v
    return F.scaled_dot_product_attention(q, k, v)


def attend_on_npu(q, k, v, is_npu):
    """Another accelerator's path guards nothing here."""
    if is_npu:
        import torch_npu

        return torch_npu.npu_fusion_attention(q, k, v, q.shape[1], "BNSD")[0]
    logits = torch.matmul(q, k.transpose(-2, -1)) * q.size(-1) ** -0.5  # expect: CUF001
    return torch.matmul(torch.softmax(logits, -1), v)


def baddbmm_attention(query, key, value, attention_mask=None):
    """Diffusers' old processor: the mask is added by the product itself."""
    scale = query.shape[-1] ** -0.5
    if attention_mask is None:
        base, beta = torch.empty(query.shape[0], query.shape[1], key.shape[1], dtype=query.dtype, device=query.device), 0
    else:
        base, beta = attention_mask, 1
    scores = torch.baddbmm(base, query, key.transpose(-1, -2), beta=beta, alpha=scale)  # expect: CUF001
    probs = scores.softmax(dim=-1)
    return torch.bmm(probs, value)


def softcapped_attention(q, k, v, cap=50.0):
    s = torch.matmul(q, k.mT) * q.size(-1) ** -0.5  # expect: CUF001
    s = torch.tanh(s / cap)
    s = s * cap
    n = q.size(-2)
    s = s.masked_fill(torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1), torch.finfo(s.dtype).min)  # silent: CUN001 the dtype's own limit
    p = F.softmax(s, dim=-1, dtype=torch.float32).to(q.dtype)
    return torch.matmul(p, v)


def one_liner(q, k, v, p, training):
    return F.dropout((q @ k.transpose(-2, -1) / q.size(-1) ** 0.5).softmax(-1), p, training) @ v  # expect: CUF001


class CrossAttention(nn.Module):
    """Stable Diffusion's first attention, on (batch · heads, tokens, channels)."""

    def __init__(self, query_dim, context_dim=None, heads=8, dim_head=64):
        super().__init__()
        inner_dim = dim_head * heads
        self.scale, self.heads = dim_head**-0.5, heads
        self.to_q = nn.Linear(query_dim, inner_dim, bias=False)
        self.to_k = nn.Linear(context_dim or query_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(context_dim or query_dim, inner_dim, bias=False)
        self.to_out = nn.Linear(inner_dim, query_dim)

    def fold(self, t):
        b, n, _ = t.shape
        return t.reshape(b, n, self.heads, -1).permute(0, 2, 1, 3).reshape(b * self.heads, n, -1)

    def forward(self, x, context=None, mask=None):
        context = x if context is None else context
        q, k, v = self.fold(self.to_q(x)), self.fold(self.to_k(context)), self.fold(self.to_v(context))
        sim = torch.einsum("b i d, b j d -> b i j", q, k) * self.scale  # expect: CUF001
        if mask is not None:
            max_neg_value = -torch.finfo(sim.dtype).max
            sim.masked_fill_(~mask.flatten(1)[:, None, :].repeat_interleave(self.heads, 0), max_neg_value)  # silent: CUN001 the dtype's own limit
        attn = sim.softmax(dim=-1)
        out = torch.einsum("b i j, b j d -> b i d", attn, v)
        b, n = x.shape[:2]
        return self.to_out(out.view(b, self.heads, n, -1).transpose(1, 2).reshape(b, n, -1))


class SlotAttention(nn.Module):
    """Softmax over the slots (queries), then a mean over the inputs."""

    def __init__(self, dim, slots=7):
        super().__init__()
        self.slots = nn.Parameter(torch.randn(1, slots, dim))
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.gru = nn.GRUCell(dim, dim)

    def forward(self, x, iterations=3):
        k, v = self.kv(x).chunk(2, dim=-1)
        slots = self.slots.expand(x.size(0), -1, -1)
        for _ in range(iterations):
            dots = torch.einsum("bid,bjd->bij", self.q(slots), k) * k.size(-1) ** -0.5
            attn = dots.softmax(dim=1) + 1e-8  # silent: CUF001 over the queries, and renormalised
            attn = attn / attn.sum(dim=-1, keepdim=True)
            updates = torch.einsum("bjd,bij->bid", v, attn)
            slots = self.gru(updates.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
        return slots


class MemoryReader(nn.Module):
    """The weights address a second memory as well."""

    def forward(self, q, keys, values, ages):
        w = torch.softmax(q @ keys.transpose(-2, -1) / keys.size(-1) ** 0.5, dim=-1)  # silent: CUF001 the weights have a second reader
        read = w @ values
        age = (w * ages).sum(dim=-1)
        return read, age


class LoggedAttention(nn.Module):
    def forward(self, q, k, v, sink):
        w = torch.softmax(torch.bmm(q, k.transpose(1, 2)) / q.shape[-1] ** 0.5, dim=-1)  # silent: CUF001 the weights are kept
        sink.append(w.detach())
        return torch.bmm(w, v)
