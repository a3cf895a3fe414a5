"""Mixed precision as the 1.6 documentation taught it, through every door."""

import argparse

import torch
import torch.cuda.amp as legacy_amp
import torch.nn as nn
from torch.cuda import amp
from torch.cuda.amp import autocast as half_precision  # either: CUP002 the import alone
from torch.cuda.amp import custom_bwd, custom_fwd  # either: CUP002 the import alone
from torch.utils.data import DataLoader, TensorDataset


class ScaledExp(torch.autograd.Function):
    @staticmethod
    @custom_fwd  # expect: CUP002
    def forward(ctx, x, scale):
        y = torch.exp(x * scale)
        ctx.save_for_backward(y)
        ctx.scale = scale
        return y

    @staticmethod
    @custom_bwd  # expect: CUP002
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y * ctx.scale, None


class HalfLinear(torch.autograd.Function):
    @staticmethod
    @torch.cuda.amp.custom_fwd(cast_inputs=torch.float16)  # expect: CUP002
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w.t()

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")  # silent: CUP002 the current interface
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad @ w, grad.t() @ x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU())
        self.head = nn.Linear(256, 10)

    @half_precision()  # expect: CUP002
    def forward(self, x):
        h = self.body(x)
        with torch.cuda.amp.autocast(False):  # expect: CUP002
            return self.head(h.float())


class autocast:
    """A context of our own, for the shape logger."""

    def __init__(self, log):
        self.log = log

    def __enter__(self):
        return self.log

    def __exit__(self, *exc):
        return False


class GradScaler:
    """A fixed loss scale, for a comparison with the dynamic one."""

    def __init__(self, factor=1024.0):
        self.factor = factor

    def scale(self, loss):
        return loss * self.factor


def smoke_test(net):
    with torch.cpu.amp.autocast(dtype=torch.bfloat16):  # expect: CUP002
        net(torch.zeros(2, 64))
    with autocast(log=[]) as log:  # silent: CUP002 the program's own class
        log.append(tuple(p.shape for p in net.parameters()))
    fixed = GradScaler(512.0)  # silent: CUP003 the program's own class
    return fixed.scale(torch.ones(())), log


def make_scaler(args):
    if args.scaler == "dynamic":
        return amp.GradScaler(init_scale=2.0**14)  # expect: CUP003
    if args.scaler == "legacy":
        return legacy_amp.GradScaler(growth_interval=500, enabled=not args.no_amp)  # expect: CUP003
    if args.scaler == "deep":
        return torch.cuda.amp.grad_scaler.GradScaler()  # expect: CUP003
    return torch.amp.GradScaler("cuda", enabled=not args.no_amp)  # silent: CUP003 the current interface


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scaler", default="dynamic")
    parser.add_argument("--no-amp", action="store_true")
    args = parser.parse_args()
    net = Net().cuda()
    smoke_test(net.cpu())
    net.cuda()
    data = TensorDataset(torch.randn(4096, 64), torch.randint(10, (4096,)))
    loader = DataLoader(data, batch_size=128, shuffle=True, pin_memory=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)  # expect: CUF012
    scaler = make_scaler(args)
    for x, y in loader:
        x = x.cuda(non_blocking=True)  # silent: CUD004 does not block
        y = y.cuda()  # expect: CUD004
        with amp.autocast(enabled=not args.no_amp, dtype=torch.float16):  # expect: CUP002
            loss = nn.functional.cross_entropy(net(x), y)  # silent: CUP001 autocast
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    with legacy_amp.autocast(not args.no_amp):  # expect: CUP002
        net(x)
    with torch.amp.autocast("cuda"), torch.no_grad():  # silent: CUP002 the current interface
        net(x)
    print("the older spelling was torch.cuda.amp.autocast() with torch.cuda.amp.GradScaler()")  # silent: CUP002, CUP003 text in a string


if __name__ == "__main__":
    main()
