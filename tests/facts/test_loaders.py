"""Loaders: which are torch's, whether they pin, and what they feed."""

from __future__ import annotations

import pytest

from tests.facts.asking import facts_of

HEAD = "import torch\nfrom torch.utils.data import DataLoader, TensorDataset\n"


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        ("DataLoader(d)", "unpinned"),
        ("DataLoader(d, pin_memory=False)", "unpinned"),
        ("DataLoader(d, 8, True, None, None, 4, None, True)", "pinned"),
        ("DataLoader(d, pin_memory=True)", "pinned"),
        ("DataLoader(d, pin_memory=torch.cuda.is_available())", "pinned"),
        ("DataLoader(d, pin_memory=use_cuda)", "pinned"),
        ("DataLoader(d, pin_memory=args.pin)", "unknown"),
        ("DataLoader(d, **options)", "unknown"),
        ("DataLoader(*args)", "unknown"),
        ("k = {'batch_size': 2}\nDataLoader(d, **k)", "unpinned"),
        ("k = {'pin_memory': True}\nDataLoader(d, **k)", "pinned"),
        ("k = {}\nk['pin_memory'] = True\nDataLoader(d, **k)", "pinned"),
        (
            "k = dict(a=1)\nm = dict(pin_memory=True)\nif c:\n    k.update(m)\nDataLoader(d, **k)",
            "pinned",
        ),
        ("k = {'pin_memory': True} if use_cuda else {}\nDataLoader(d, **k)", "pinned"),
        ("k = {'num_workers': 1} if use_cuda else {}\nDataLoader(d, **k)", "unpinned"),
        ("k = {}\nk.update(more())\nDataLoader(d, **k)", "unknown"),
        ("p.add_argument('--pin', default=True)\nDataLoader(d, pin_memory=args.pin)", "pinned"),
    ],
)
def test_pin(text: str, pin: str) -> None:
    facts = facts_of(HEAD + text + "\n")
    (call,) = facts.loaders.constructions
    assert facts.loaders.pin(call) == pin


@pytest.mark.parametrize(
    "text",
    [
        "from torch_geometric.loader import DataLoader\nDataLoader(d)\n",
        "import monai\nmonai.data.DataLoader(d)\n",
        "class DataLoader:\n    pass\nDataLoader(d)\n",
        "from .data import DataLoader\nDataLoader(d)\n",
    ],
)
def test_other_classes(text: str) -> None:
    assert facts_of("import torch\n" + text).loaders.constructions == []


@pytest.mark.parametrize(
    "text",
    [
        "from torch.utils.data import DataLoader as Loader\nLoader(d)\n",
        "from torch.utils import data\ndata.DataLoader(d)\n",
        "import torch as th\nth.utils.data.DataLoader(d)\n",
        "from torch.utils.data import *\nDataLoader(d)\n",
        "from torch.utils.data.dataloader import DataLoader\nDataLoader(d)\n",
    ],
)
def test_spellings(text: str) -> None:
    assert len(facts_of("import torch\n" + text).loaders.constructions) == 1


@pytest.mark.parametrize(
    ("text", "feeds"),
    [
        ("loader = DataLoader(d)\nfor x in loader:\n    y = model(x.cuda())", True),
        ("loader = DataLoader(d)\nfit(loader)", True),
        ("loader = DataLoader(d)\nfor x in loader:\n    total += x.sum()", False),
        ("loader = DataLoader(range(10))\nfit(loader)", False),
        ("loader = DataLoader(d, collate_fn=list)\nfit(loader)", False),
        ("loader = DataLoader(TensorDataset(torch.arange(9)))\nfit(loader)", False),
        ("loader = DataLoader(TensorDataset(*columns))\nfit(loader)", False),
        ("loader = DataLoader(TensorDataset(torch.from_numpy(a), b))\nfit(loader)", True),
        ("loader = DataLoader(TensorDataset(scores(x).exp(), y))\nfit(loader)", False),
        ("loader = DataLoader(TensorDataset(x.cuda(), y.cuda()))\nfit(loader)", False),
        ("loader = DataLoader(Frames(p, device=device))\nfit(loader)", False),
        (
            "def collate(rows):\n    return torch.stack(rows).cuda()\n"
            "loader = DataLoader(d, collate_fn=collate)\nfit(loader)",
            False,
        ),
        (
            "class Frames:\n    def __getitem__(self, i):\n        return self.x[i].to('cuda')\n"
            "loader = DataLoader(Frames())\nfit(loader)",
            False,
        ),
    ],
)
def test_feeds_cuda(text: str, feeds: bool) -> None:
    facts = facts_of(HEAD + "model = net.cuda()\n" + text + "\n")
    (call,) = facts.loaders.constructions
    assert facts.loaders.feeds_cuda(call) is feeds


def test_prepared_loaders_yield_batches_on_the_device() -> None:
    facts = facts_of(
        HEAD
        + "model, loader = accelerator.prepare(model, DataLoader(d, pin_memory=True))\n"
        + "for batch in loader:\n    x = batch\n"
    )
    value = facts.tensors.value(list(facts.identifiers("batch"))[-1])
    assert (value.device, value.pinned) == ("cuda", False)
