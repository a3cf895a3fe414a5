"""Solubility of molecules; PyTorch Geometric's loader and a small message-passing net."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.datasets import MoleculeNet
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv, global_add_pool

torch.backends.cuda.matmul.allow_tf32 = False  # energies are compared to 1e-5


class Net(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.node, self.edge = nn.Linear(9, width), nn.Linear(3, width)
        self.convs = nn.ModuleList(GINEConv(nn.Sequential(nn.Linear(width, width), nn.ReLU())) for _ in range(4))
        self.out = nn.Linear(width, 1)

    def forward(self, data):
        x, e = self.node(data.x.float()), self.edge(data.edge_attr.float())
        for conv in self.convs:
            x = x + conv(x, data.edge_index, e)
        return self.out(global_add_pool(x, data.batch))


class EarlyStopping:
    """`item` is the best value so far."""

    def __init__(self, patience):
        self.patience, self.best, self.bad = patience, float("inf"), 0  # silent: CUS004 a constant

    def item(self):
        return self.best

    def step(self, value):
        self.bad = 0 if value < self.best else self.bad + 1
        self.best = min(self.best, value)
        return self.bad > self.patience


def run_epoch(model, loader, device, optimizer=None):
    total = torch.zeros((), device=device)
    for data in loader:
        data = data.to(device)  # silent: CUD004 the loader is PyG's and does not pin
        pred = model(data)  # silent: CUP001 TF32 is off on purpose
        loss = F.mse_loss(pred.squeeze(-1), data.y.squeeze(-1))
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.detach() * data.num_graphs
        if loss.item() > 1e6:  # expect: CUS001
            print("diverged")
            break
    return total / len(loader.dataset)


def main():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = MoleculeNet("data", name="ESOL").shuffle()
    n = len(dataset) // 10
    train_loader = DataLoader(dataset[n:], batch_size=64, shuffle=True)  # silent: CUD001 another class
    val_loader = DataLoader(dataset[:n], batch_size=256)  # silent: CUD001 another class
    model = Net().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)  # expect: CUF012
    stopper = EarlyStopping(20)
    for epoch in range(300):
        train_loss = run_epoch(model, train_loader, device, optimizer)
        with torch.no_grad():
            val_loss = run_epoch(model, val_loader, device)
        if stopper.step(val_loss.item()):  # silent: CUS001 once per epoch
            break
        print(f"{epoch}: best {stopper.item():.4f}")  # silent: CUS001 a method of the program's own class
    print("train %.4f" % train_loss)  # silent: CUS004 after training


if __name__ == "__main__":
    main()
