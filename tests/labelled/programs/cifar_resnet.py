import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
import torchvision
import torchvision.transforms as transforms


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)  # silent: CUF020 no bias
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, num_blocks, num_classes=10):
        super().__init__()
        self.in_planes = 64
        self.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)  # silent: CUF020 no bias
        self.bn1 = nn.BatchNorm2d(64)
        self.layers = nn.Sequential(
            *(self._make_layer(64 * 2**i, n, 1 if i == 0 else 2) for i, n in enumerate(num_blocks))
        )
        self.linear = nn.Linear(512, num_classes)

    def _make_layer(self, planes, num_blocks, stride):
        layers = []
        for s in [stride] + [1] * (num_blocks - 1):
            layers.append(BasicBlock(self.in_planes, planes, s))
            self.in_planes = planes
        return nn.Sequential(*layers)

    def forward(self, x):
        out = self.layers(F.relu(self.bn1(self.conv1(x))))
        return self.linear(F.avg_pool2d(out, 4).flatten(1))


def train(args, net, device, loader, optimizer, criterion, epoch):
    net.train()
    train_loss = 0
    correct = 0
    total = 0
    for batch_idx, (inputs, targets) in enumerate(loader):
        inputs, targets = inputs.to(device), targets.to(device)  # expect: CUD004
        optimizer.zero_grad()
        outputs = net(inputs)  # expect: CUP001
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()

        train_loss += loss.item()  # expect: CUS001
        _, predicted = outputs.max(1)
        total += targets.size(0)
        correct += predicted.eq(targets).sum().item()  # expect: CUS001
        if batch_idx % args.log_interval == 0:
            print("Train Epoch: {} [{}/{}]\tLoss: {:.6f}".format(epoch, total, len(loader.dataset), loss.item()))  # silent: CUS001 throttled
    print("epoch %d: loss %.3f, acc %.2f%%" % (epoch, train_loss / len(loader), 100.0 * correct / total))  # silent: CUS004 Python numbers, once per epoch


def test(net, device, loader, criterion):
    net.eval()
    test_loss, correct = 0.0, 0
    with torch.no_grad():
        for inputs, targets in loader:
            inputs = inputs.to(device)  # expect: CUD004
            targets = targets.to(device)  # expect: CUD004
            outputs = net(inputs)
            test_loss += criterion(outputs, targets).item()  # expect: CUS001
            pred = outputs.argmax(dim=1, keepdim=True)
            correct += int(pred.eq(targets.view_as(pred)).sum())  # expect: CUS004
    accuracy = 100.0 * correct / len(loader.dataset)
    print("\nTest set: Average loss: {:.4f}, Accuracy: {:.2f}%\n".format(test_loss / len(loader), accuracy))
    return accuracy


def main():
    parser = argparse.ArgumentParser(description="PyTorch CIFAR10 training")
    parser.add_argument("--lr", default=0.1, type=float)
    parser.add_argument("--epochs", default=200, type=int)
    parser.add_argument("--no-cuda", action="store_true")
    parser.add_argument("--log-interval", default=50, type=int)
    args = parser.parse_args()
    use_cuda = not args.no_cuda and torch.cuda.is_available()
    device = torch.device("cuda" if use_cuda else "cpu")

    train_kwargs = {"batch_size": 128}
    test_kwargs = {"batch_size": 100}
    if use_cuda:
        cuda_kwargs = {"num_workers": 2, "pin_memory": True, "shuffle": True}
        train_kwargs.update(cuda_kwargs)
        test_kwargs.update(cuda_kwargs)

    normalize = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    transform = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalize])
    trainset = torchvision.datasets.CIFAR10("./data", train=True, download=True, transform=transform)
    testset = torchvision.datasets.CIFAR10("./data", train=False, transform=transform)
    train_loader = torch.utils.data.DataLoader(trainset, **train_kwargs)  # silent: CUD001 pinned through the dict
    test_loader = torch.utils.data.DataLoader(testset, **test_kwargs)  # silent: CUD001 pinned through the dict

    net = ResNet([2, 2, 2, 2]).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=args.lr, momentum=0.9, weight_decay=5e-4)  # expect: CUF012
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    best = 0.0
    for epoch in range(args.epochs):
        train(args, net, device, train_loader, optimizer, criterion, epoch)
        acc = test(net, device, test_loader, criterion)
        if acc > best:
            best = acc
            torch.save({"net": net.state_dict(), "acc": float(acc)}, "ckpt.pth")  # silent: CUS004 a Python number, once per epoch
        scheduler.step()


if __name__ == "__main__":
    main()
