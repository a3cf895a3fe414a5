"""Contrastive training of an image and a text tower."""

import argparse
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
import webdataset as wds
from torch.utils.data import DataLoader
from torchvision import models, transforms


class TextTower(nn.Module):
    def __init__(self, vocab=49408, width=512, ctx=77):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        layer = nn.TransformerEncoderLayer(width, 8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 6)
        self.pos = nn.Parameter(torch.zeros(ctx, width))

    def forward(self, tokens):
        return self.encoder(self.embed(tokens) + self.pos).mean(dim=1)


class CLIP(nn.Module):
    def __init__(self, width=512):
        super().__init__()
        self.visual = models.resnet50(num_classes=width)
        self.text = TextTower(width=width)
        self.logit_scale = nn.Parameter(torch.ones([]) * math.log(1 / 0.07))

    def forward(self, image, tokens):
        return F.normalize(self.visual(image), dim=-1), F.normalize(self.text(tokens), dim=-1), self.logit_scale.exp()


def clip_loss(image_features, text_features, scale):
    logits = scale * image_features @ text_features.t()
    labels = torch.arange(logits.shape[0], device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2


def nt_xent(z1, z2, temperature=0.1):
    """SimCLR's loss as many wrote it: the positive over the sum of all others."""
    z = F.normalize(torch.cat([z1, z2]), dim=-1)
    n = z1.shape[0]
    sim = torch.exp(z @ z.t() / temperature)  # silent: CUF002 normalised dot products under a temperature
    others = sim.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), 0)  # silent: CUN001 zero
    pos = torch.exp((F.normalize(z1, dim=-1) * F.normalize(z2, dim=-1)).sum(-1) / temperature)
    return -torch.log(torch.cat([pos, pos]) / others.sum(dim=-1)).mean()  # silent: CUF002 the sum is over other values


def soft_targets(scores, tau):
    e = (scores / tau).exp()  # expect: CUF002
    return e / e.sum(dim=1, keepdim=True)


def prototype_weights(distances, sigma=1.0):
    kernel = torch.exp(-distances.pow(2) / (2 * sigma**2))  # silent: CUF002 negative squares are bounded
    return kernel / kernel.sum(dim=-1, keepdim=True)


def class_weights(sim, labels):
    sim = sim.clamp(min=-1e4, max=1e4)  # silent: CUN001 clipping
    same = labels[:, None] == labels[None, :]
    return F.softmax(sim.masked_fill(~same, -1e4), dim=1)  # expect: CUN001


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", default="data/{000..099}.tar")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args()
    device = torch.device(args.device)
    tf = transforms.Compose([transforms.RandomResizedCrop(224), transforms.ToTensor()])
    dataset = wds.WebDataset(args.shards).decode("pil").to_tuple("jpg", "tokens.npy").map_tuple(tf, torch.from_numpy)
    loader = DataLoader(dataset, batch_size=256, num_workers=8, pin_memory=True)
    model = CLIP().to(device)
    opt = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.2)  # expect: CUF012
    log_steps = {0, 10, 100, 1000, 10_000}
    ema, last = 0.0, args.steps - 1
    for step, (image, tokens) in enumerate(loader):
        image = image.to(device, non_blocking=True)
        tokens = tokens.to(device)  # expect: CUD004
        with torch.autocast("cuda", dtype=torch.bfloat16):  # silent: CUP002 the current interface
            zi, zt, scale = model(image, tokens)  # silent: CUP001 autocast
            loss = clip_loss(zi, zt, scale)
            loss = loss + 0.1 * nt_xent(zi, zt)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        ema = 0.99 * ema + 0.01 * loss.detach().item()  # expect: CUS001
        if step in log_steps:
            print("scale", model.logit_scale.exp().item())  # silent: CUS001 few steps
        if args.debug:
            print("norm", image.norm().item(), f"{float(scale):.2f}")  # silent: CUS001, CUS004 debug only
        if step == last:
            print(f"final loss {float(loss):.4f}")  # silent: CUS004 the last step
            break
        if step % 100 != 0:
            continue
        print(step, loss.item(), f"{ema:.4f}")  # silent: CUS001 after an early continue
        torch.save(model.state_dict(), f"clip_{step:06d}.pt")  # silent: CUS004 an integer


if __name__ == "__main__":
    main()
