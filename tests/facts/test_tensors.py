"""The lattice: what is known of the value that a row computes; each comment says what."""

from __future__ import annotations

import pytest

from tests.facts.asking import expression, facts_of, statements

HEAD = """
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""

CASES = {
    "factories": """
a = torch.zeros(3)  # tensor cpu float
b = torch.zeros(3, device=device)  # tensor cuda float
c = torch.tensor(1, device="cuda:0")  # tensor cuda scalar
d = torch.zeros_like(b)  # tensor cuda
e = torch.arange(4, device="cpu", dtype=torch.long)  # tensor cpu int64
f = np.zeros(3)  # array
g = torch.from_numpy(f)  # tensor cpu
h = g.to(device)  # tensor cuda
i = b.cpu()  # tensor cpu
j = b.cpu().numpy()  # array
k = b.tolist()  # sequence
l = torch.empty(3, pin_memory=True)  # tensor cpu pinned
m = a.pin_memory()  # tensor cpu pinned
""",
    "reductions": """
x = torch.randn(4, 5, device=device)
y = torch.randint(3, (4,), device=device)
total = x.sum()  # tensor cuda float scalar
rows = x.sum(dim=1)  # tensor cuda float
values, indices = x.max(1)
v = values  # tensor cuda float
i = indices  # tensor cuda int64
most = x.max()  # tensor cuda float scalar
guess = x.argmax(-1)  # tensor cuda int64
same = guess == y  # tensor cuda bool
hits = (guess == y).sum()  # tensor cuda int64 scalar
also = guess.eq(y.view_as(guess)).sum()  # tensor cuda int64 scalar
best = x.topk(2).indices  # tensor cuda int64
mean = (x - 1).abs().mean()  # tensor cuda float scalar
size = x.size(0)  # number
shape = x.shape[0]  # number
count = x.numel()  # number
item = total.item()  # number
both = total + 1  # tensor cuda float scalar
half = hits / 2  # tensor cuda float scalar
""",
    "losses": """
logits = torch.randn(4, 5, device=device)
loss = F.cross_entropy(logits, labels)  # tensor cuda float scalar
each = F.cross_entropy(logits, labels, reduction="none")  # tensor cuda float
criterion = nn.MSELoss()
other = criterion(logits, labels)  # tensor cuda float scalar
summed = loss + 0.1 * other  # tensor cuda float scalar
kept = loss.detach()  # tensor cuda float scalar
""",
    "uses say what a loss is": """
def step(engine, batch):
    loss, parts = engine.compute(batch)
    loss.backward()
    a = loss  # tensor float scalar
    loss = loss.item()
    b = loss  # number
def other(engine):
    loss = engine.last()
    c = loss  # unknown
def scaled(scaler, make):
    value = make()
    scaler.scale(value).backward()
    d = value  # tensor float scalar
""",
    "modules": """
class Net(nn.Module):
    def __init__(self):
        self.first = nn.Linear(4, 4)
    def forward(self, x, scale: float = 1.0):
        h = self.first(x)  # tensor
        s = scale  # number
        return h.relu()
net = Net().to(device)
a = net  # module
b = net(torch.zeros(4).to(device))  # tensor cuda
model = make_model()
model.eval()
c = model  # module
d = model(x)  # output
e = model(x).logits  # tensor float
f = nn.DataParallel(net)  # module
""",
    "loaders": """
loader = DataLoader(dataset, batch_size=4, pin_memory=True)
for images, labels in loader:
    a = images  # output cpu pinned
    b = images.to(device)  # output cuda
    labels = labels.cuda()
    c = labels  # output cuda
batch = next(iter(loader))
d = batch["x"]  # output cpu pinned
e = batch["x"][batch["i"]]  # output cpu
def train(loader_of_another):
    for x in loader_of_another:
        f = x  # unknown
def fit(train_loader):
    for x in train_loader:
        g = x  # output cpu
""",
    "containers": """
x = torch.ones(2, device=device)
losses = {"a": x.sum(), "b": x.mean()}
a = losses["a"]  # tensor cuda float scalar
b = sum(losses.values())  # tensor cuda float scalar
for name, value in losses.items():
    c = value  # tensor cuda float scalar
    d = name  # text
kept = []
for _ in range(3):
    kept.append(x.sum())
e = kept[0]  # tensor cuda float scalar
f = torch.stack(kept)  # tensor cuda float
g = [v.item() for v in kept]  # sequence
first, *rest = x, 1, 2
h = first  # tensor cuda float
pair = x, 3
i = pair[1]  # number
""",
    "functions of the file": """
def accuracy(output, target):
    with torch.no_grad():
        correct = (output.argmax(1) == target).float().mean()
        return correct, len(target)
out = torch.ones(2, 3, device=device)
acc, n = accuracy(out, torch.zeros(2, device=device))
a = acc  # tensor cuda float32 scalar
b = n  # number
def scale(value, by=2):
    return value * by
c = scale(out)  # tensor cuda float
""",
    "annotations": """
from typing import Optional
def f(a: torch.Tensor, b: Optional[torch.Tensor], c: float, d: "np.ndarray", e: nn.Module):
    p = a  # tensor
    q = b  # tensor
    r = c  # number
    s = d  # array
    t = e  # module
""",
    "flow": """
value = 0.0
a = value  # number
value = torch.ones(1, device=device)
b = value  # tensor cuda float
if flag:
    value = value.cpu()
else:
    value = value.cpu()
c = value  # tensor cpu float
loss = None
for step in steps:
    loss = compute(c).detach()
    d = loss  # tensor
total = 0
for step in steps:
    total += d.sum()
e = total  # tensor
""",
    "text and numbers": """
a = f"{1}"  # text
b = len("x")  # number
c = 1 + 2.0  # number
d = time.time()  # unknown
e = max(1, 2)  # number
f = {"a": 1}.items()  # sequence
g = tokenizer("x", return_tensors="pt")  # output cpu
h = env.step(torch.ones(1, device=device))  # unknown
""",
}


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    facts = facts_of(HEAD + CASES[name])
    rows = list(statements(facts))
    assert rows
    for statement, expected in rows:
        value = facts.tensors.value(expression(statement))
        said = [value.kind, *(expected.split()[1:] and [value.device, value.dtype])]
        said += ["scalar"] * value.scalar + ["pinned"] * value.pinned
        for word in expected.split():
            assert word in said, (facts.code(statement), value)
        assert (
            "scalar" in expected.split()
            or not value.scalar
            or len(expected.split()) == 1
            or (value.kind == "number")
        ), (facts.code(statement), value)


def test_a_cycle_ends() -> None:
    facts = facts_of("import torch\nwhile go:\n    a, b = f(b), g(a)\n    c = a\n")
    name = next(iter(facts.identifiers("c")))
    assert facts.tensors.value(name).kind in ("unknown", "bottom")


def test_deep_expressions_end() -> None:
    facts = facts_of("import torch\nx = " + "(" * 4000 + "torch.ones(1)" + ")" * 4000 + "\ny = x\n")
    names = list(facts.identifiers("x"))
    assert facts.tensors.value(names[-1]).kind == "unknown"
