"""Norm layers from a dozen papers, side by side for a comparison."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MetaRMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)  # expect: CUF004

    def forward(self, x):
        output = self._norm(x.float()).type_as(x)
        return output * self.weight


class LateRMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        x_fp32 = x.float()  # expect: CUF004
        x_normed = (x_fp32 * torch.rsqrt(x_fp32.pow(2).mean(dim=-1, keepdim=True) + self.eps)).type_as(x)
        return x_normed * self.scale


class DivRMSNorm(nn.Module):
    def __init__(self, d, eps=1e-8):
        super().__init__()
        self.d, self.eps = d, eps
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        ms = torch.mean(torch.square(x), -1, keepdim=True)  # expect: CUF004
        rms = (ms + self.eps).sqrt()
        return self.weight * (x / rms)


class PlainRMSNorm(nn.Module):
    """One expression, no weight."""

    def forward(self, x):
        return x * (x * x).mean(-1, True).add(1e-6).rsqrt()  # expect: CUF004


class PowRMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        var = x.to(torch.float32).square().mean(dim=-1, keepdim=True)  # expect: CUF004
        normed = x * torch.pow(var + 1e-6, -0.5)
        return (normed * (1 + self.w)).to(x.dtype)


class EpsOutside(nn.Module):
    """The first RMSNorm that was published: the root, then eps."""

    def __init__(self, d, eps=1e-8):
        super().__init__()
        self.d, self.eps = d, eps
        self.scale = nn.Parameter(torch.ones(d))

    def forward(self, x):
        norm_x = x.norm(2, dim=-1, keepdim=True)
        rms_x = norm_x * self.d ** (-1.0 / 2)
        return self.scale * x / (rms_x + self.eps)  # silent: CUF004 eps outside the root


class SequenceNorm(nn.Module):
    def forward(self, x):
        energy = x.pow(2).mean(dim=1, keepdim=True)  # silent: CUF004 along the sequence
        return x * torch.rsqrt(energy + 1e-6)


class ManualLayerNorm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))

    def forward(self, x):
        u = x.mean(-1, keepdim=True)  # expect: CUF005
        s = (x - u).pow(2).mean(-1, keepdim=True)  # silent: CUF004 the mean is taken off: a layer norm
        x = (x - u) / torch.sqrt(s + 1e-12)
        return self.gamma * x + self.beta


class GlobalResponseNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim)), nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x):
        gx = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        nx = gx / (gx.mean(dim=-1, keepdim=True) + 1e-6)  # silent: CUF004 a ratio of norms
        return self.gamma * (x * nx) + self.beta + x


class UnitSphere(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.scale = dim**0.5

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)  # silent: CUF004 a sum, no mean: unit length


class AdamLike(nn.Module):
    """A whitening layer: the running second moment is not this batch's."""

    def __init__(self, dim):
        super().__init__()
        self.register_buffer("second", torch.ones(dim))

    def forward(self, x):
        if self.training:
            self.second.lerp_(x.detach().pow(2).mean(0), 0.01)
        return x * torch.rsqrt(self.second + 1e-6)  # silent: CUF004 running statistics


class GatedRMSNorm(nn.Module):
    """Mamba's: the gate comes first."""

    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x, gate=None):
        dtype = x.dtype
        x = x.to(torch.float32)
        if gate is not None:
            x = x * F.silu(gate.to(torch.float32))  # expect: CUF008
        variance = x.pow(2).mean(-1, keepdim=True)  # expect: CUF004
        x = x * torch.rsqrt(variance + self.eps)
        return self.weight * x.to(dtype)


class Builtin(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.RMSNorm(dim)

    def forward(self, x):
        return self.norm(x) * x.detach().pow(2).mean(-1, keepdim=True).rsqrt()  # either: CUF004 x̂ of a detached x, times another tensor


def pairwise_rms(a, b):
    return torch.sqrt(((a - b) ** 2).mean(-1) + 1e-12)  # silent: CUF004 a distance
