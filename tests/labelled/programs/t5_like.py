"""A T5-like encoder/decoder: relative position bias, no scaling of the scores."""

import torch
from torch import nn
from torch.nn import functional as F


class T5LayerNorm(nn.Module):
    def __init__(self, hidden_size, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.variance_epsilon = eps

    def forward(self, hidden_states):
        variance = hidden_states.to(torch.float32).pow(2).mean(-1, keepdim=True)  # expect: CUF004
        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)
        if self.weight.dtype in [torch.float16, torch.bfloat16]:
            hidden_states = hidden_states.to(self.weight.dtype)
        return self.weight * hidden_states


class MeanNorm(nn.Module):
    """The old one, kept for checkpoints of 2019: a deviation, not a root mean square."""

    def __init__(self, size, eps=1e-6):
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(size))
        self.b_2 = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        std = x.std(-1, keepdim=True)  # silent: CUF004 a standard deviation
        return self.a_2 * (x - mean) / (std + self.eps) + self.b_2


class VarianceNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(size))

    def forward(self, x):
        var = torch.var(x, dim=-1, keepdim=True, unbiased=False)  # silent: CUF004 the variance takes the mean off
        return self.gain * x * torch.rsqrt(var + 1e-5)


class T5Attention(nn.Module):
    def __init__(self, d_model, d_kv, num_heads, dropout=0.1, buckets=32):
        super().__init__()
        self.n_heads, self.d_kv, self.dropout = num_heads, d_kv, dropout
        inner = num_heads * d_kv
        self.q = nn.Linear(d_model, inner, bias=False)
        self.k = nn.Linear(d_model, inner, bias=False)
        self.v = nn.Linear(d_model, inner, bias=False)
        self.o = nn.Linear(inner, d_model, bias=False)
        self.relative_attention_bias = nn.Embedding(buckets, num_heads)

    def compute_bias(self, q_len, k_len, device):
        distance = torch.arange(k_len, device=device)[None, :] - torch.arange(q_len, device=device)[:, None]
        bucket = distance.clamp(-15, 15) + 15
        return self.relative_attention_bias(bucket).permute(2, 0, 1).unsqueeze(0)

    def split(self, x):
        return x.view(x.size(0), -1, self.n_heads, self.d_kv).transpose(1, 2)

    def forward(self, hidden, mask=None, kv=None):
        source = hidden if kv is None else kv
        query, key, value = self.split(self.q(hidden)), self.split(self.k(source)), self.split(self.v(source))
        scores = torch.matmul(query, key.transpose(3, 2))  # expect: CUF001
        position_bias = self.compute_bias(query.size(2), key.size(2), hidden.device)
        if mask is not None:
            position_bias = position_bias + mask
        scores += position_bias
        attn_weights = nn.functional.softmax(scores.float(), dim=-1).type_as(scores)
        attn_weights = nn.functional.dropout(attn_weights, p=self.dropout, training=self.training)
        context = torch.matmul(attn_weights, value)
        return self.o(context.transpose(1, 2).flatten(2))


class T5AttentionWithOutputs(T5Attention):
    def forward(self, hidden, mask=None, kv=None, output_attentions=False):
        source = hidden if kv is None else kv
        query, key, value = self.split(self.q(hidden)), self.split(self.k(source)), self.split(self.v(source))
        scores = torch.matmul(query, key.transpose(3, 2))  # silent: CUF001 the weights may be returned
        if mask is not None:
            scores = scores + mask
        attn_weights = F.softmax(scores, dim=-1)
        outputs = (self.o(torch.matmul(attn_weights, value).transpose(1, 2).flatten(2)),)
        if output_attentions:
            outputs = outputs + (attn_weights,)
        return outputs


def extended_mask(attention_mask, dtype):
    mask = attention_mask[:, None, None, :].to(dtype)
    return (1.0 - mask) * -10000.0  # expect: CUN001


def causal_mask(length, dtype, device):
    mask = torch.full((length, length), torch.finfo(dtype).min, device=device)  # silent: CUN001 the dtype's own limit
    return mask.triu(1)[None, None]


def shift_right(labels, start=0, pad=0):
    shifted = labels.new_zeros(labels.shape)
    shifted[:, 1:] = labels[:, :-1].clone()
    shifted[:, 0] = start
    return shifted.masked_fill(shifted == -100, pad)  # silent: CUN001 a padding id


class Block(nn.Module):
    def __init__(self, d_model, d_kv, heads, cross=False):
        super().__init__()
        self.norm = T5LayerNorm(d_model)
        self.attn = T5Attention(d_model, d_kv, heads)
        self.cross = T5AttentionWithOutputs(d_model, d_kv, heads) if cross else None
        self.ff = nn.Sequential(nn.Linear(d_model, 4 * d_model, bias=False), nn.ReLU(), nn.Linear(4 * d_model, d_model, bias=False))

    def forward(self, x, mask, memory=None, memory_mask=None):
        x = x + self.attn(self.norm(x), mask)
        if self.cross is not None:
            x = x + self.cross(self.norm(x), memory_mask, kv=memory)[0]  # either: CUF006 the norm reads one of two sums
        return x + self.ff(self.norm(x).clamp(-64000, 64000))  # silent: CUN001 clipping
