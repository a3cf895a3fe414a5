"""A diffusion transformer (DiT) written by hand, and a script that trains it to remove noise.

$ python dit.py --steps 50
"""

import argparse
import math

import torch
from torch import nn


def modulate(x, shift, scale):
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def timestep_embedding(t, dim, max_period=10000):
    half = dim // 2
    exponent = torch.arange(half, dtype=torch.float32, device=t.device) / half
    args = t[:, None].float() * torch.exp(-math.log(max_period) * exponent)[None]
    return torch.cat([torch.cos(args), torch.sin(args)], dim=-1)


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = q * self.scale @ k.transpose(-2, -1)
        attn = attn.softmax(dim=-1)
        x = (attn @ v).transpose(1, 2).reshape(B, N, C)
        return self.proj(x)


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    """A block with adaptive layer norms; the last layer of the modulation starts at zero."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x, c):
        shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation(
            c
        ).chunk(6, dim=1)
        h = self.norm1(x) * (1 + scale_msa.unsqueeze(1)) + shift_msa.unsqueeze(1)
        x = x + gate_msa.unsqueeze(1) * self.attn(h)
        h = self.norm2(x) * (1 + scale_mlp.unsqueeze(1)) + shift_mlp.unsqueeze(1)
        x = x + gate_mlp.unsqueeze(1) * self.mlp(h)
        return x


class FinalLayer(nn.Module):
    def __init__(self, width, channels):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x, c):
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
        return self.linear(modulate(self.norm(x), shift, scale))


class DiT(nn.Module):
    def __init__(self, channels, length, width, heads, layers):
        super().__init__()
        self.width = width
        self.embed = nn.Linear(channels, width)
        self.positions = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.final = FinalLayer(width, channels)

    def forward(self, x, t):
        c = self.time(timestep_embedding(t, self.width))
        x = self.embed(x) + self.positions
        for block in self.blocks:
            x = block(x, c)
        return self.final(x, c)


def batches(args):
    """Seeded smooth signals, noise, and the times at which they are mixed."""
    generator = torch.Generator().manual_seed(args.seed)
    place = torch.linspace(0, 6.28, args.length)[None, :, None]
    for _ in range(args.steps):
        phase = torch.rand(args.batch, 1, args.channels, generator=generator) * 6.28
        clean = torch.sin(place + phase)
        noise = torch.randn(clean.shape, generator=generator)
        t = torch.rand(args.batch, generator=generator)
        yield clean.to(args.device), noise.to(args.device), t.to(args.device)


def build(args):
    torch.manual_seed(args.seed)
    model = DiT(args.channels, args.length, args.width, args.heads, args.layers).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    return model, optimizer


def train_step(model, optimizer, clean, noise, t):
    optimizer.zero_grad()
    mix = t[:, None, None]
    prediction = model((1 - mix) * clean + mix * noise, t * 1000)
    loss = torch.mean((prediction - (noise - clean)) ** 2)
    loss.backward()
    optimizer.step()
    return loss


def train(args):
    model, optimizer = build(args)
    losses = []
    for clean, noise, t in batches(args):
        loss = train_step(model, optimizer, clean, noise, t)
        losses.append(loss.item())
    return losses


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1152)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


if __name__ == "__main__":
    for step, loss in enumerate(train(arguments())):
        print(f"step {step}: loss {loss:.4f}")
