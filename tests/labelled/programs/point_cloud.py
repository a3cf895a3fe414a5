"""Segments point clouds and their images; calibrates on the CPU what was trained on the GPU."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.nn import BatchNorm1d, Conv1d


class TNet(nn.Module):
    def __init__(self, k=3):
        super().__init__()
        self.k = k
        self.conv1 = Conv1d(k, 64, 1)  # expect: CUF020
        self.conv2 = Conv1d(64, 128, 1)  # expect: CUF020
        self.conv3 = Conv1d(128, 1024, 1)  # silent: CUF020 its output is pooled first
        self.fc = nn.Linear(1024, k * k)
        self.bn1 = BatchNorm1d(64)
        self.bn2 = BatchNorm1d(128)
        self.bn3 = BatchNorm1d(1024)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.conv2(x)
        x = F.relu(self.bn2(x))
        x = self.conv3(x).amax(2)
        x = self.fc(F.relu(self.bn3(x)))
        return x.view(-1, self.k, self.k) + torch.eye(self.k, device=x.device)


class ImageBranch(nn.Module):
    def __init__(self, width, norm_layer=nn.BatchNorm2d, residual=True):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),  # expect: CUF020
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),  # silent: CUF020 an activation comes first
            nn.GELU(),
            nn.BatchNorm2d(width),
        )
        self.mix = nn.Conv2d(width, width, 3, padding=1)  # silent: CUF020 the norm is chosen elsewhere
        self.mix_norm = norm_layer(width)
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)  # silent: CUF020 used twice
        self.up_norm = nn.BatchNorm2d(width)
        self.out = nn.Conv2d(width, width, 1, bias=residual)  # silent: CUF020 a variable
        self.out_norm = nn.BatchNorm2d(width)

    def forward(self, x):
        x = self.mix_norm(self.mix(self.stem(x)))
        y = self.up(x)
        x = self.up_norm(y) + y
        return self.out_norm(self.out(x))


def decoder(widths):
    layers = []
    for cin, cout in zip(widths, widths[1:]):
        layers += [nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=True), nn.BatchNorm2d(cout), nn.ReLU()]  # expect: CUF020
    return nn.Sequential(*layers)


class Calibrator(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(classes))

    def forward(self, logits):
        return logits * self.scale


def calibrate(logits, labels, classes):
    """A few hundred numbers, on the CPU."""
    calibrator = Calibrator(classes)
    optimizer = optim.Adam(calibrator.parameters(), lr=1e-2)  # silent: CUF012 never moved
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(calibrator(logits), labels).backward()
        optimizer.step()
    shift = torch.zeros(classes, requires_grad=True)
    second = torch.optim.SGD([shift], lr=0.1)  # silent: CUF012 a tensor of the CPU
    F.cross_entropy(calibrator(logits).detach() + shift, labels).backward()
    second.step()
    return calibrator


def make_optimizer(name, model, **extra):
    if name == "sgd":
        return optim.SGD(model.parameters(), lr=0.1, momentum=0.9)  # expect: CUF012
    if name == "adam":
        return optim.Adam(model.parameters(), **extra)  # silent: CUF012 arguments out of sight
    return optim.RMSprop(model.parameters())  # silent: CUF012 has no fused form


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--optimizer", default="sgd")
    args = parser.parse_args()
    device = torch.device("cuda")
    torch.set_float32_matmul_precision("high")
    points, images = TNet().to(device), ImageBranch(32).to(device)
    head = decoder([32, 16, 8]).to(device)
    optimizer = make_optimizer(args.optimizer, points)
    others = torch.optim.AdamW([*images.parameters(), *head.parameters()], lr=1e-3)  # expect: CUF012
    frozen = torch.optim.AdamW(head.parameters(), lr=1e-4, foreach=True)  # silent: CUF012 chosen
    for _ in range(1000):
        cloud = torch.randn(8, 3, 1024, device=device)
        image = torch.randn(8, 3, 32, 32, device=device)
        loss = points(cloud).square().mean() + head(images(image)).square().mean()
        for one in (optimizer, others, frozen):
            one.zero_grad()
        loss.backward()
        for one in (optimizer, others, frozen):
            one.step()


if __name__ == "__main__":
    main()
