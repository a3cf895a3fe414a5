"""Distils a teacher into a student; Accelerate takes care of the devices."""

from argparse import ArgumentParser

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms


def loaders(root, batch_size):
    tf = transforms.Compose([transforms.RandomResizedCrop(160), transforms.ToTensor()])
    train = datasets.ImageFolder(f"{root}/train", tf)
    val = datasets.ImageFolder(f"{root}/val", tf)
    common = {"batch_size": batch_size, "num_workers": 8}
    return DataLoader(train, shuffle=True, **common), DataLoader(val, **common)  # expect: CUD001


def distil(student, teacher, images, t=4.0):
    with torch.no_grad():
        soft = F.softmax(teacher(images) / t, dim=1)
    return F.kl_div(F.log_softmax(student(images) / t, dim=1), soft, reduction="batchmean") * t * t


def main():
    parser = ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--log-every", type=int, default=20)
    args = parser.parse_args()
    accelerator = Accelerator(gradient_accumulation_steps=2)
    train_loader, val_loader = loaders(args.root, 64)
    student, teacher = models.resnet18(), models.resnet50(weights="DEFAULT").eval()
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-4)  # expect: CUF012
    student, teacher, optimizer, train_loader, val_loader = accelerator.prepare(student, teacher, optimizer, train_loader, val_loader)
    for epoch in range(args.epochs):
        student.train()
        for step, (images, labels) in enumerate(train_loader):
            with accelerator.accumulate(student):
                logits = student(images)  # expect: CUP001
                loss = F.cross_entropy(logits, labels) + distil(student, teacher, images)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.is_main_process:
                print(f"{epoch}.{step}: {loss.item():.4f}")  # expect: CUS001
            if accelerator.is_main_process and step % args.log_every == 0:
                print("accuracy", (logits.argmax(1) == labels).float().mean().item())  # silent: CUS001 throttled
        student.eval()
        hits, seen = 0, 0
        for images, labels in val_loader:
            with torch.inference_mode():
                guess = student(images).argmax(dim=1)
            guess, labels = accelerator.gather_for_metrics((guess, labels))
            hits += int((guess == labels).sum())  # expect: CUS004
            seen += labels.numel()
        accelerator.print("%d: %.2f" % (epoch, 100.0 * hits / seen))  # silent: CUS004 Python numbers


if __name__ == "__main__":
    main()
