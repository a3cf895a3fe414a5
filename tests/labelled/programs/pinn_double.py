"""Burgers' equation by a physics-informed network, in double precision as the method needs."""

import numpy as np
import torch
import torch.nn as nn

torch.set_default_dtype(torch.float64)
device = "cuda:0"
nu = 0.01 / np.pi


class MLP(nn.Sequential):
    def __init__(self, width=64, depth=5):
        layers = [nn.Linear(2, width), nn.Tanh()]
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.Tanh()]
        super().__init__(*layers, nn.Linear(width, 1))


def residual(net, xt):
    xt = xt.requires_grad_(True)
    u = net(xt)
    grad = torch.autograd.grad(u.sum(), xt, create_graph=True)[0]
    u_x, u_t = grad[:, :1], grad[:, 1:]
    u_xx = torch.autograd.grad(u_x.sum(), xt, create_graph=True)[0][:, :1]
    return u_t + u * u_x - nu * u_xx


def main():
    net = MLP().to(device)
    interior = torch.rand(20000, 2, device=device) * 2 - 1
    x0 = torch.linspace(-1, 1, 256, device=device)[:, None]
    u0 = -torch.sin(np.pi * x0)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=50, line_search_fn="strong_wolfe")
    history = []

    def closure():
        optimizer.zero_grad()
        start = net(torch.cat([x0, torch.zeros_like(x0)], dim=1))  # silent: CUP001 double precision on purpose
        loss = residual(net, interior).square().mean() + (start - u0).square().mean()
        loss.backward()
        history.append(loss.detach())
        return loss

    for round_ in range(200):
        optimizer.step(closure)
        if round_ % 10 == 0:
            print(f"{round_}: {history[-1].item():.3e} after {len(history)} evaluations")  # silent: CUS001, CUS004 throttled
    with torch.no_grad():
        final = residual_norm = torch.stack(history).min().item()  # silent: CUS001 after training
    print(f"best {final:.3e} ({residual_norm:.3e})")  # silent: CUS004 Python numbers


main()
