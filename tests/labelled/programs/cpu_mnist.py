"""The first network of a course: runs on any laptop."""

import torch
import torch.nn as nn
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import ToTensor

training_data = datasets.FashionMNIST(root="data", train=True, download=True, transform=ToTensor())
test_data = datasets.FashionMNIST(root="data", train=False, download=True, transform=ToTensor())
train_dataloader = DataLoader(training_data, batch_size=64)  # silent: CUD001 a CPU program
test_dataloader = DataLoader(test_data, batch_size=64)  # silent: CUD001 a CPU program
device = torch.device("cpu")


class NeuralNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.stack = nn.Sequential(nn.Linear(28 * 28, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))

    def forward(self, x):
        return self.stack(self.flatten(x))


model = NeuralNetwork().to(device)
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)  # silent: CUF012 the CPU


def train(dataloader):
    size = len(dataloader.dataset)
    model.train()
    running = 0.0
    for batch, (X, y) in enumerate(dataloader):
        X, y = X.to(device), y.to(device)  # silent: CUD004 a CPU program
        loss = loss_fn(model(X), y)  # silent: CUP001 a CPU program
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        running += loss.item()  # silent: CUS001 a CPU program
        if batch % 100 == 0:
            print(f"loss: {loss.item():>7f}  [{(batch + 1) * len(X):>5d}/{size:>5d}]")
    return running / len(dataloader)


def test(dataloader):
    model.eval()
    test_loss, correct = 0, 0
    with torch.no_grad():
        for X, y in dataloader:
            pred = model(X)
            test_loss += float(loss_fn(pred, y))  # silent: CUS004 a CPU program
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()  # silent: CUS001 a CPU program
    print(f"Accuracy: {100 * correct / len(dataloader.dataset):>0.1f}%, Avg loss: {test_loss / len(dataloader):>8f}\n")


for t in range(5):
    print(f"Epoch {t + 1}\n-------------------------------")
    train(train_dataloader)
    test(test_dataloader)
print("Done!")
