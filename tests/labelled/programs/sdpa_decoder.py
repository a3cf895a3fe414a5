"""A decoder and its encoder around fused attention, as they grew: masks, groups, backends, weights."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def split(x, heads):
    b, t, c = x.shape
    return x.view(b, t, heads, c // heads).transpose(1, 2)


def repeat_heads(x, n):
    b, h, t, d = x.shape
    return x.unsqueeze(2).expand(b, h, n, t, d).reshape(b, h * n, t, d)


def window_bias(n, width, dtype):
    far = torch.ones(n, n).tril(-width)
    return torch.zeros(n, n, dtype=dtype).masked_fill(far.bool(), float("-inf"))


class CausalAttention(nn.Module):
    def __init__(self, width, heads, kv_heads, block_size):
        super().__init__()
        self.heads, self.kv_heads, self.groups = heads, kv_heads, heads // kv_heads
        self.q_proj = nn.Linear(width, width)
        self.kv_proj = nn.Linear(width, 2 * width // self.groups)
        triangle = torch.tril(torch.ones(block_size, block_size, dtype=torch.bool))
        self.register_buffer("triangle", triangle, persistent=False)
        bias = torch.full((block_size, block_size), float("-inf")).triu(1)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        k, v = self.kv_proj(x).view(b, t, 2, self.kv_heads, -1).permute(2, 0, 3, 1, 4)
        k = k.repeat_interleave(self.groups, dim=1)  # silent: CUF016 a mask follows
        v = v.repeat_interleave(self.groups, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.triangle[:t, :t])  # expect: CUF018
        return y.transpose(1, 2).reshape(b, t, c)

    def unmasked(self, q, k, v):
        if self.groups > 1:
            k = k.repeat_interleave(self.groups, dim=1)  # expect: CUF016
            v = v.repeat_interleave(self.groups, dim=1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def helped(self, q, k, v):
        k, v = k[:, :, None], v[:, :, None]  # expect: CUF016
        k = k.expand(-1, -1, self.groups, -1, -1).flatten(1, 2)
        v = v.expand(-1, -1, self.groups, -1, -1).flatten(1, 2)
        return F.scaled_dot_product_attention(q, k, v)

    def step(self, q, k, v, cache):
        k, v = torch.cat((cache[0], k), dim=2), torch.cat((cache[1], v), dim=2)
        t = q.size(2)
        mask = self.triangle[k.size(2) - t : k.size(2), : k.size(2)]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # silent: CUF018 a cache

    def biased(self, x):
        t = x.size(1)
        q = k = v = split(x, self.heads)
        return F.scaled_dot_product_attention(q, k, v, self.bias[:t, :t])  # expect: CUF018

    def windowed(self, q, k, v):
        t = k.size(2)
        bias = self.bias[:t, :t] + window_bias(t, 16, q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # silent: CUF018 a window too


class GroupedAttention(nn.Module):
    def __init__(self, width, heads, kv_heads):
        super().__init__()
        self.n_rep = heads // kv_heads

    def function(self, q, k, v):
        keys = torch.repeat_interleave(k, self.n_rep, dim=1)  # expect: CUF016
        values = torch.repeat_interleave(v, self.n_rep, dim=1)
        return F.scaled_dot_product_attention(q, keys, values)

    def folded(self, q, k, v):
        k, v = repeat_heads(k, self.n_rep), repeat_heads(v, self.n_rep)  # expect: CUF016
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def late(self, q, k, v):
        k = k.repeat_interleave(self.n_rep, dim=2)  # expect: CUF016
        v = v.repeat_interleave(self.n_rep, dim=2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    def inside(self, q, k, v):
        n = self.n_rep
        return F.scaled_dot_product_attention(  # expect: CUF016
            q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), is_causal=True
        )

    def tiled(self, q, k, v):
        k = k.repeat(1, self.n_rep, 1, 1)  # silent: CUF016 whole blocks of heads
        v = v.repeat(1, self.n_rep, 1, 1)
        return F.scaled_dot_product_attention(q, k, v)

    def beams(self, q, k, v, n):
        k = k.repeat_interleave(n, dim=0)  # silent: CUF016 the batch
        v = v.repeat_interleave(n, dim=0)
        return F.scaled_dot_product_attention(q, k, v)

    def strided(self, q, k, v, n):
        k = k.repeat_interleave(n, dim=2)  # silent: CUF016 positions
        v = v.repeat_interleave(n, dim=2)
        return F.scaled_dot_product_attention(q, k, v)


def triangular(q, k, v):
    n = k.size(-2)
    mask = torch.ones(n, n, device=q.device).tril() == 1
    return F.scaled_dot_product_attention(q, k, v, mask)  # expect: CUF018


def subsequent(q, k, v):
    n = k.shape[-2]
    mask = nn.Transformer.generate_square_subsequent_mask(n, device=k.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # expect: CUF018


def anticausal(q, k, v):
    n = k.size(-2)
    mask = torch.ones(n, n, device=q.device).triu() == 1
    return F.scaled_dot_product_attention(q, k, v, mask)  # silent: CUF018 the future


def padded(q, k, v, keep):
    n = k.size(-2)
    mask = torch.ones(n, n, dtype=torch.bool).tril() & keep[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # silent: CUF018 padding too


class Encoder(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross = nn.MultiheadAttention(width, heads, dropout=0.1)
        self.pool = nn.MultiheadAttention(width, 1)

    def forward(self, x, memory, padding):
        y, _ = self.attn(x, x, x, key_padding_mask=padding)  # expect: CUF019
        x = x + y
        x = x + self.cross(query=x, key=memory, value=memory)[0]  # expect: CUF019
        return x

    def pooled(self, query, x):
        out, weights = self.pool(query, x, x)  # silent: CUF019 returned
        return out, weights

    def entropy(self, x):
        _, weights = self.attn(x, x, x)  # silent: CUF019 the weights are what is wanted
        return -(weights * weights.clamp_min(1e-9).log()).sum(-1)

    def quick(self, x):
        return self.attn(x, x, x, need_weights=False)[0]  # silent: CUF019 says so

    def chosen(self, x, show):
        return self.attn(x, x, x, need_weights=show)[0]  # silent: CUF019 says so

    def twice(self, x):
        first, unused = self.attn(x, x, x)  # expect: CUF019
        second = self.attn(first, first, first)  # expect: CUF019
        return first + second[0]


def profile(model, x):
    with sdpa_kernel(SDPBackend.MATH):  # expect: CUF017
        model(x)


def old(q, k, v):
    with torch.backends.cuda.sdp_kernel(enable_math=False):  # expect: CUF017
        return F.scaled_dot_product_attention(q, k, v)


def configured(options):
    return torch.backends.cuda.sdp_kernel(**options)  # expect: CUF017


def given(backends, model, x):
    with sdpa_kernel(backends):  # silent: CUF017 whatever is asked for
        return model(x)


def wide(model, x):
    # heads of 512 have no fused kernel
    with sdpa_kernel(SDPBackend.MATH):  # silent: CUF017 a reason
        return model(x)


def prepare(args):
    torch.backends.cuda.enable_math_sdp(False)  # silent: CUF017 the slow one
    if args.debug:
        torch.backends.cuda.enable_flash_sdp(False)  # silent: CUF017 a switch
    torch.backends.cuda.enable_flash_sdp(not args.safe)  # silent: CUF017 a switch


torch.backends.cuda.enable_flash_sdp(False)  # expect: CUF017
