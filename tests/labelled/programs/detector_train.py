"""Trains a one-stage detector; grown over the years, with every kind of progress line."""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from torch.amp import GradScaler
from torch.cuda import amp as cuda_amp
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from torch.utils.data import DataLoader
from tqdm import tqdm

from boxes import BoxDataset, ap_per_class, box_iou, collate

LOGGER = logging.getLogger("detector")


class Detector(nn.Module):
    def __init__(self, classes):
        super().__init__()
        widths = (3, 32, 64, 128, 256)
        self.backbone = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.SiLU()) for a, b in zip(widths, widths[1:]))  # expect: CUF020
        )
        self.head = nn.Conv2d(256, 5 + classes, 1)

    def forward(self, x):
        return self.head(self.backbone(x)).flatten(2).transpose(1, 2)


class DetectionLoss:
    def __init__(self, hyp):
        self.hyp = hyp
        self.bce = nn.BCEWithLogitsLoss()

    def __call__(self, pred, targets):
        lbox = (1.0 - box_iou(pred[..., :4], targets[..., :4])).mean() * self.hyp["box"]
        lobj = self.bce(pred[..., 4], targets[..., 4]) * self.hyp["obj"]
        lcls = self.bce(pred[..., 5:], targets[..., 5:]) * self.hyp["cls"]
        return lbox + lobj + lcls, torch.stack((lbox, lobj, lcls)).detach()


def scalers(kind, enabled):
    if kind == "fsdp":
        return ShardedGradScaler(enabled=enabled)  # silent: CUP003 the sharded one
    if kind == "xla":
        from torch_xla.amp import GradScaler as XlaScaler

        return XlaScaler()  # silent: CUP003 another library's
    if kind == "new":
        return GradScaler("cuda", enabled=enabled)  # silent: CUP003 the current interface
    return cuda_amp.GradScaler(enabled=enabled)  # expect: CUP003


@torch.no_grad()
def validate(model, loader, device, half):
    stats, seen = [], 0
    pbar = tqdm(loader, desc="%22s" * 3 % ("Images", "P", "R"))  # silent: CUS004 strings
    for i, (im, targets, paths) in enumerate(pbar):
        im = im.to(device, non_blocking=True)  # silent: CUD004 does not block
        im = im.half() if half else im.float()
        targets = targets.to(device)  # expect: CUD004
        out = model(im / 255)
        iou = box_iou(out[..., :4].float(), targets[..., :4])
        stats.append((iou > 0.5).cpu().numpy())
        seen += im.shape[0]
        best = round(iou.max().item(), 3)  # expect: CUS001  # silent: CUS004 already a number
        hits = int((iou > 0.5).sum())  # expect: CUS004
        pbar.set_description(f"{seen} images, best {best}, {hits} hits")  # silent: CUS004 Python numbers
        if i == len(loader) - 1:
            LOGGER.info("last batch: %.3f" % iou.mean())  # silent: CUS004 the last step
    p, r = ap_per_class(np.concatenate(stats))
    return float(p.mean()), r.mean().item()  # silent: CUS001, CUS004 NumPy, after the loop


def train(opt, hyp, device):
    cuda = device.type != "cpu"
    model = Detector(opt.classes).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=hyp["lr0"], momentum=0.937, nesterov=True)  # expect: CUF012
    pin = {"pin_memory": True}
    train_loader = DataLoader(BoxDataset(opt.data, "train"), opt.batch_size, shuffle=True, collate_fn=collate, num_workers=8, **pin)  # silent: CUD001 pinned through the dict
    val_loader = DataLoader(BoxDataset(opt.data, "val"), opt.batch_size, collate_fn=collate, num_workers=8, **pin)  # silent: CUD001 pinned through the dict
    compute_loss = DetectionLoss(hyp)
    scaler = scalers(opt.scaler, cuda)
    best_fitness = 0.0
    for epoch in range(opt.epochs):
        model.train()
        mloss = torch.zeros(3, device=device)
        pbar = tqdm(enumerate(train_loader), total=len(train_loader))
        optimizer.zero_grad()
        for i, (imgs, targets, paths) in pbar:
            imgs = imgs.to(device, non_blocking=True).float() / 255
            with cuda_amp.autocast(cuda):  # expect: CUP002
                pred = model(imgs)  # silent: CUP001 autocast
                loss, loss_items = compute_loss(pred, targets.to(device))  # expect: CUD004
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            mloss = (mloss * i + loss_items) / (i + 1)
            mem = f"{torch.cuda.memory_reserved() / 1e9:.3g}G"  # silent: CUS004 a Python number
            pbar.set_description("%11s%11.4g" % (mem, mloss.mean()))  # expect: CUS004
            if opt.debug:
                print(f"{i}: {loss:.4f}")  # silent: CUS004 debug only
            pbar.set_postfix_str(f"box {loss_items[0]:.3f}")  # expect: CUS004
        fitness = validate(model, val_loader, device, half=cuda)[0]
        best_fitness = max(best_fitness, fitness)
        torch.save({"epoch": epoch, "model": model.state_dict()}, Path(opt.out) / f"epoch{epoch:03d}.pt")  # silent: CUS004 an integer
        LOGGER.info(f"epoch {epoch}: {mloss.mean():.4f}, fitness {fitness:.3f}")  # silent: CUS004 once per epoch
    return best_fitness


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="coco")
    parser.add_argument("--out", default="runs")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--scaler", default="old")
    parser.add_argument("--debug", action="store_true")
    opt = parser.parse_args()
    train(opt, {"lr0": 0.01, "box": 0.05, "obj": 1.0, "cls": 0.5}, torch.device("cuda:0"))
