"""Evaluates a checkpoint on a validation folder and writes a small report."""

import argparse
import json
import time
from collections import defaultdict

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import models, transforms
from torchvision.datasets import ImageFolder


class Histogram:
    """Counts by bucket; `item` names the fullest one."""

    def __init__(self):
        self.counts = defaultdict(int)

    def add(self, key):
        self.counts[key] += 1

    def item(self):
        return max(self.counts, key=self.counts.get)


def build_loader(root, batch_size, workers):
    preprocess = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    return DataLoader(ImageFolder(root, preprocess), batch_size=batch_size, num_workers=workers)  # expect: CUD001


def evaluate(model, loader, device, topk=5):
    hist = Histogram()
    correct = torch.zeros((), device=device)
    topk_hits = 0
    confidences = []
    entropies = []
    seconds = []
    for images, labels in loader:
        begin = time.perf_counter()
        with torch.no_grad():
            logits = model(images.to(device))  # expect: CUP001
        labels = labels.to(device)
        probs = logits.softmax(dim=1)
        best = probs.argmax(dim=1)
        correct += (best == labels).sum()
        hits = probs.topk(topk, dim=1).indices.eq(labels[:, None]).any(dim=1)
        topk_hits += hits.sum().item()  # expect: CUS001
        top = probs.max(dim=1).values.cpu()
        confidences.append(top.mean().item())  # silent: CUS001 on the CPU by now
        spread = float(np.std(top.numpy()))  # silent: CUS004 NumPy
        for name in best.cpu().tolist():
            hist.add(name)
        fullest = hist.item()  # silent: CUS001 a method of the program's own class
        entropy = -(probs * probs.clamp_min(1e-9).log()).sum(dim=1).mean()
        entropies.append(round(float(entropy), 4))  # expect: CUS004
        seconds.append(round(time.perf_counter() - begin, 4))  # silent: CUS004 a Python number
        print(f"{len(confidences)} of {len(loader)}: {fullest} ±{spread:.2f}")  # silent: CUS004 Python values
    total = len(loader.dataset)
    return {
        "top1": correct.item() / total,  # silent: CUS001 after the loop
        "topk": topk_hits / total,
        "confidence": float(np.mean(confidences)),  # silent: CUS004 NumPy, after the loop
        "entropy": sum(entropies) / len(entropies),
        "seconds": sum(seconds),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    model = getattr(models, args.arch)(weights="DEFAULT").to(args.device).eval()
    report = evaluate(model, build_loader(args.root, args.batch_size, args.workers), args.device)
    with open("report.json", "w") as out:
        json.dump({k: round(v, 5) for k, v in report.items()}, out)  # silent: CUS004 Python numbers


if __name__ == "__main__":
    main()
