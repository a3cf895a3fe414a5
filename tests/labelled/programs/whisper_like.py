"""A speech encoder/decoder with a greedy decoder, after the well-known design."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

try:
    from torch.nn.functional import scaled_dot_product_attention

    SDPA_AVAILABLE = True
except (ImportError, RuntimeError, OSError):
    scaled_dot_product_attention = None
    SDPA_AVAILABLE = False


@dataclass
class Dims:
    n_mels: int = 80
    n_ctx: int = 1500
    n_state: int = 512
    n_head: int = 8
    n_layer: int = 6
    n_vocab: int = 51865
    n_text_ctx: int = 448


class MultiHeadAttention(nn.Module):
    use_sdpa = True

    def __init__(self, n_state, n_head):
        super().__init__()
        self.n_head = n_head
        self.query = nn.Linear(n_state, n_state)
        self.key = nn.Linear(n_state, n_state, bias=False)
        self.value = nn.Linear(n_state, n_state)
        self.out = nn.Linear(n_state, n_state)

    def forward(self, x, xa=None, mask=None):
        source = x if xa is None else xa
        wv, qk = self.qkv_attention(self.query(x), self.key(source), self.value(source), mask)
        return self.out(wv), qk

    def qkv_attention(self, q, k, v, mask=None):
        _, n_ctx, n_state = q.shape
        scale = (n_state // self.n_head) ** -0.25
        q = q.view(*q.shape[:2], self.n_head, -1).permute(0, 2, 1, 3)
        k = k.view(*k.shape[:2], self.n_head, -1).permute(0, 2, 1, 3)
        v = v.view(*v.shape[:2], self.n_head, -1).permute(0, 2, 1, 3)
        if SDPA_AVAILABLE and MultiHeadAttention.use_sdpa:
            a = scaled_dot_product_attention(q, k, v, is_causal=mask is not None and n_ctx > 1)
            return a.permute(0, 2, 1, 3).flatten(start_dim=2), None
        qk = (q * scale) @ (k * scale).transpose(-1, -2)  # silent: CUF001 the other half of a guarded pair, scores returned
        if mask is not None:
            qk = qk + mask[:n_ctx, :n_ctx]
        qk = qk.float()
        w = F.softmax(qk, dim=-1).to(q.dtype)
        return (w @ v).permute(0, 2, 1, 3).flatten(start_dim=2), qk.detach()


class AlibiSelfAttention(nn.Module):
    """The encoder's variant, with no fused path yet."""

    def __init__(self, n_state, n_head):
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_state, 3 * n_state)
        self.out = nn.Linear(n_state, n_state)
        self.register_buffer("slopes", 2.0 ** -torch.arange(1, n_head + 1).float())

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.n_head, -1).transpose(1, 2) for y in self.qkv(x).split(c, dim=-1))
        pos = torch.arange(t, device=x.device)
        bias = -self.slopes.view(-1, 1, 1) * (pos[None, :] - pos[:, None]).abs()
        logits = q.matmul(k.transpose(-1, -2)).mul((c // self.n_head) ** -0.5).add(bias)  # expect: CUF001
        weights = logits.softmax(-1)
        mixed = weights.matmul(v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class AudioTextModel(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.conv = nn.Conv1d(dims.n_mels, dims.n_state, 3, padding=1, stride=2)
        self.encoder = nn.ModuleList([AlibiSelfAttention(dims.n_state, dims.n_head) for _ in range(dims.n_layer)])
        self.token_embedding = nn.Embedding(dims.n_vocab, dims.n_state)
        self.positions = nn.Parameter(torch.empty(dims.n_text_ctx, dims.n_state))
        self.self_attn = MultiHeadAttention(dims.n_state, dims.n_head)
        self.cross_attn = MultiHeadAttention(dims.n_state, dims.n_head)
        mask = torch.empty(dims.n_text_ctx, dims.n_text_ctx).fill_(-np.inf).triu_(1)  # silent: CUN001 infinite
        self.register_buffer("mask", mask, persistent=False)

    def embed_audio(self, mel: Tensor) -> Tensor:
        x = F.gelu(self.conv(mel)).permute(0, 2, 1)
        for layer in self.encoder:
            x = x + layer(x)
        return x

    def logits(self, tokens: Tensor, audio: Tensor) -> Tensor:
        x = self.token_embedding(tokens) + self.positions[: tokens.shape[-1]]
        x = x + self.self_attn(x, mask=self.mask)[0]
        x = x + self.cross_attn(x, audio)[0]
        return (x @ self.token_embedding.weight.t()).float()


@torch.no_grad()
def greedy(model, mel, sot=50258, eot=50257, device="cuda", sample_len=224):
    audio = model.embed_audio(mel.to(device))  # silent: CUD004 before the loop, not known to be pinned
    tokens = torch.tensor([[sot]], device=device)
    sum_logprob = 0.0
    for i in range(sample_len):
        logits = model.logits(tokens, audio)[:, -1]
        logits[:, eot + 1 :] = float("-inf")  # silent: CUN001 infinite
        logprobs = F.log_softmax(logits, dim=-1)
        next_token = logits.argmax(dim=-1)
        sum_logprob += logprobs[0, next_token].item()  # expect: CUS001
        tokens = torch.cat([tokens, next_token[:, None]], dim=-1)
        if int(next_token) == eot:  # expect: CUS004
            break
    return tokens, sum_logprob / (i + 1)
