"""Policy heads, routers and mixtures: softmaxes by hand, good and bad."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import exp as texp


class PolicyHead(nn.Module):
    def __init__(self, dim, actions):
        super().__init__()
        self.fc = nn.Linear(dim, actions)

    def forward(self, x, legal):
        logits = self.fc(x)
        probs = torch.exp(logits) / torch.exp(logits).sum(dim=-1, keepdim=True)  # expect: CUF002
        return probs * legal


class MaskedPolicy(PolicyHead):
    def forward(self, x, legal):
        logits = torch.where(legal, self.fc(x), torch.tensor(-1e8, device=x.device))  # expect: CUN001
        shifted = logits - logits.max(dim=-1, keepdim=True).values  # expect: CUF003
        e = torch.exp(shifted)  # silent: CUF002 the maximum is subtracted
        return e / e.sum(dim=-1, keepdim=True)


class Router(nn.Module):
    """Top-k experts, with jitter while training."""

    def __init__(self, dim, experts, k=2):
        super().__init__()
        self.gate, self.k = nn.Linear(dim, experts, bias=False), k

    def forward(self, x):
        logits = self.gate(x)
        if self.training:
            logits = logits + torch.rand_like(logits) * 1e-2
        top, index = logits.topk(self.k, dim=-1)
        weights = top.exp()  # expect: CUF002
        weights = weights / weights.sum(-1, keepdim=True)
        return weights, index


class StableRouter(Router):
    def forward(self, x):
        logits = self.gate(x)
        z = torch.logsumexp(logits, dim=-1, keepdim=True)
        p = torch.exp(logits - z)  # silent: CUF002 log-sum-exp is subtracted
        top, index = p.topk(self.k, dim=-1)
        return top / top.sum(dim=-1, keepdim=True), index, z.pow(2).mean()


class Pointer(nn.Module):
    """Additive scores under tanh cannot overflow."""

    def __init__(self, dim):
        super().__init__()
        self.w1, self.w2 = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, enc, dec, mask):
        score = torch.tanh(self.w1(enc) + self.w2(dec).unsqueeze(1)).sum(-1).tanh() * 10
        e = torch.exp(score) * mask  # silent: CUF002 bounded by tanh
        return e / e.sum(dim=1, keepdim=True)


class MixtureDensity(nn.Module):
    def __init__(self, dim, k):
        super().__init__()
        self.pi, self.mu, self.sigma = nn.Linear(dim, k), nn.Linear(dim, k), nn.Linear(dim, k)

    def forward(self, x):
        numerator = texp(self.pi(x))  # expect: CUF002
        denominator = torch.sum(numerator, dim=1, keepdim=True)
        pi = torch.div(numerator, denominator)
        sigma = texp(self.sigma(x))  # silent: CUF002 a positive scale, no sum
        return pi, self.mu(x), sigma

    def nll(self, x, y):
        pi, mu, sigma = self(x)
        density = texp(-0.5 * ((y - mu) / sigma) ** 2) / (sigma * 2.5066)  # silent: CUF002 a Gaussian density
        return -torch.log((pi * density).sum(dim=1) + 1e-8).mean()


def memory_softmax(key, memory, beta):
    k = F.normalize(key, dim=-1)
    m = F.normalize(memory, dim=-1)
    w = torch.exp(beta * (m @ k.unsqueeze(-1)).squeeze(-1))  # either: CUF002 normalised products, but beta is not bounded
    return w / w.sum(dim=-1, keepdim=True)


def boltzmann(q_values, temperature):
    prefs = q_values / temperature
    prefs.exp_()  # expect: CUF002
    return prefs.div_(prefs.sum(dim=1, keepdim=True))


def log_probs_back(logits):
    logp = F.log_softmax(logits, dim=-1)
    p = logp.exp()  # silent: CUF002 of a log-softmax
    return p / p.sum(dim=-1, keepdim=True), logp


def sharpen(probs, t):
    powered = probs ** (1 / t)  # silent: CUF002 no exponential
    return powered / powered.sum(dim=1, keepdim=True)


def odds(x):
    return torch.exp(x) / (1 + torch.exp(x))  # silent: CUF002 a sigmoid


def partition_free(logits, labels):
    """Sampled softmax: the sum runs over the negatives alone."""
    pos = torch.exp(logits.gather(1, labels[:, None]))  # silent: CUF002 the sum is over other values
    neg = torch.exp(logits[:, 1:]).sum(dim=1, keepdim=True)
    return -torch.log(pos / neg).mean()


def normalise_rows(scores):
    return F.softmax(scores, dim=-1)  # silent: CUF002 torch's own


def label_distribution(energy):
    unnormalised = torch.exp(-energy)  # expect: CUF002
    z = unnormalised.sum(1)[:, None]
    return unnormalised / z
