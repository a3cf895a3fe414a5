"""A tiny radiance field. Full precision on purpose: the ray origins do not survive TF32."""

import argparse
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm import trange

torch.set_float32_matmul_precision("highest")


def positional(x, octaves):
    freqs = 2.0 ** torch.arange(octaves, device=x.device) * math.pi
    angles = x[..., None, :] * freqs[:, None]
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Field(nn.Module):
    def __init__(self, octaves=10, width=256):
        super().__init__()
        self.octaves = octaves
        self.net = nn.Sequential(nn.Linear(octaves * 6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    def forward(self, p):
        out = self.net(positional(p, self.octaves))
        return torch.sigmoid(out[..., :3]), F.relu(out[..., 3])


def render(field, origins, directions, near=2.0, far=6.0, samples=64):
    t = torch.linspace(near, far, samples, device=origins.device)
    t = t + torch.rand(origins.shape[0], samples, device=origins.device) * (far - near) / samples
    rgb, sigma = field(origins[:, None] + t[..., None] * directions[:, None])
    delta = torch.cat([t[:, 1:] - t[:, :-1], torch.full_like(t[:, :1], 1e10)], dim=-1)  # silent: CUN001 the last distance
    alpha = 1.0 - torch.exp(-sigma * delta)
    transmittance = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1.0 - alpha + 1e-10], dim=-1), dim=-1)[:, :-1]
    weights = alpha * transmittance
    return (weights[..., None] * rgb).sum(dim=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("scene")
    parser.add_argument("--iterations", type=int, default=20000)
    args = parser.parse_args()
    device = torch.device("cuda")
    scene = np.load(args.scene)
    extent = float(scene["bounds"].max())  # silent: CUS004 NumPy, before the loop
    rays = torch.from_numpy(scene["rays"]).float().to(device)  # silent: CUD004 once, before the loop
    target = torch.from_numpy(scene["rgb"]).float().to(device)
    field = Field().to(device)
    optimizer = torch.optim.Adam(field.parameters(), lr=5e-4)  # expect: CUF012
    best = -1e9  # silent: CUN001 an initial minimum
    for i in trange(args.iterations):
        index = torch.randint(rays.shape[0], (1024,), device=device)
        prediction = render(field, rays[index, :3] / extent, rays[index, 3:])  # silent: CUP001 "highest" is a choice
        loss = F.mse_loss(prediction, target[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        psnr = -10.0 * torch.log10(loss.detach())
        best = max(best, psnr.item())  # expect: CUS001
        if i % 1000 == 999:
            print(f"{i + 1}: {psnr.item():.2f} dB, best {best:.2f} dB")  # silent: CUS001, CUS004 throttled
