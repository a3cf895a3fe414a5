"""Trains a small convolutional network on CIFAR-10.

$ python train.py --epochs 5
"""

import argparse

import torch
import torch.nn.functional as F
from torch import nn
from torch.cuda.amp import GradScaler, autocast
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Net(nn.Module):
    def __init__(self, width=64, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).flatten(1))


def train(model, loader, optimizer, scaler, epoch):
    model.train()
    total_loss, correct = 0.0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        with autocast():
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        total_loss += loss.item()
        correct += int((logits.argmax(dim=1) == labels).sum())
    accuracy = correct / len(loader.dataset)
    print(f"epoch {epoch}: loss {total_loss / len(loader):.3f}, accuracy {accuracy:.1%}")


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    total_loss = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        total_loss += F.cross_entropy(model(images), labels).item()
    return total_loss / len(loader)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="data")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256)
    args = parser.parse_args()

    transform = transforms.ToTensor()
    train_set = datasets.CIFAR10(args.data, train=True, download=True, transform=transform)
    test_set = datasets.CIFAR10(args.data, train=False, transform=transform)
    train_loader = DataLoader(train_set, args.batch_size, shuffle=True, num_workers=4, pin_memory=True)
    test_loader = DataLoader(test_set, args.batch_size, num_workers=4)

    model = Net().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = GradScaler()
    for epoch in range(args.epochs):
        train(model, train_loader, optimizer, scaler, epoch)
        print(f"test loss {evaluate(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
