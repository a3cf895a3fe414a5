"""Programs: which files start one, which step it runs, and what counts as a choice of precision."""

from __future__ import annotations

import pytest

from cudalint.facts import PackageFacts
from cudalint.facts.programs import Programs
from cudalint.facts.python import PythonFacts
from cudalint.model import Source
from cudalint.settings import Settings


def programs(text: str, path: str = "train.py") -> Programs:
    return Programs(PythonFacts(Source(path, text.encode()), Settings(), PackageFacts()))


STEP = """
def train(model, loader, optimizer):
    for x in loader:
        x = x.cuda()
        out = model(x)
        loss = out.mean()
        loss.backward()
        optimizer.step()
"""
HEAD = "import torch\nmodel = torch.nn.Linear(2, 2).cuda()\nmodel.train()\n"


def first(text: str) -> str | None:
    made = programs(text)
    step = made.step
    return made.facts.code(step.first) if step is not None else None


@pytest.mark.parametrize(
    ("end", "runs"),
    [
        ("", False),
        ("if __name__ == '__main__':\n    train(model, [], None)\n", True),
        ("if __name__ == '__main__':\n    print(model)\n", False),
        ("def main():\n    train(model, [], None)\nmain()\n", True),
        ("def main():\n    train(model, [], None)\n", False),
        ("def main():\n    train(model, [], None)\nimport fire\nfire.Fire(main)\n", True),
        ("for _ in range(3):\n    train(model, [], None)\n", True),
        ("from other import train as again\n", False),
    ],
)
def test_entry_points(end: str, runs: bool) -> None:
    assert programs(HEAD + STEP + end).is_entry_point is runs


def test_methods_are_reached_by_name_and_classes_by_being_made() -> None:
    text = HEAD + (
        "class Trainer:\n    def __init__(self):\n        self.fit_all()\n"
        "    def fit_all(self):\n        optimizer.zero_grad()\n"
        "        out = model(torch.ones(2).cuda())\n        out.mean().backward()\n"
        "        optimizer.step()\n"
    )
    assert first(text) is None
    assert first(text + "if __name__ == '__main__':\n    Trainer()\n") == (
        "out = model(torch.ones(2).cuda())"
    )


def test_commands_are_run() -> None:
    text = HEAD + STEP + "import click\n@click.command()\ndef go():\n    train(model, [], None)\n"
    assert programs(text).is_entry_point


def test_the_step_starts_at_the_model_call_the_loss_comes_from() -> None:
    text = HEAD + (
        "optimizer = torch.optim.SGD(model.parameters())\n"
        "for x in loader:\n"
        "    action = model(observe().cuda())\n"
        "    batch = sample(action)\n"
        "    target = batch * 2\n"
        "    value = model(batch.cuda())\n"
        "    loss = (value - target).mean()\n"
        "    optimizer.zero_grad()\n"
        "    loss.backward()\n"
        "    optimizer.step()\n"
    )
    made = programs(text)
    assert made.step is not None
    assert made.facts.code(made.step.last) == "optimizer.step()"
    assert made.step.kind == "training"


def test_inference_takes_calls_of_the_model_not_of_its_helpers() -> None:
    text = HEAD.replace("train()", "eval()") + (
        "with torch.no_grad():\n    model.reset_cache()\n    y = model(torch.ones(2).cuda())\n"
    )
    made = programs(text)
    assert made.step is not None and made.step.kind == "inference"
    assert made.facts.code(made.step.first) == "y = model(torch.ones(2).cuda())"


@pytest.mark.parametrize(
    ("line", "chosen"),
    [
        ("with torch.autocast('cuda'):\n    pass", True),
        ("model.half()", True),
        ("half = 4 // 2", False),
        ("x = x.double()", True),
        ("import numpy\na = numpy.zeros(3, dtype=numpy.float64)", False),
        ("a = x.to(torch.float64)", True),
        ("total = x.sum(dtype=torch.float64)", False),
        ("'''model.half() with autocast'''", False),
        ("# autocast", False),
        ("print('half of it under autocast')", False),
        ("parser.add_argument('--bf16')", True),
        ("torch.backends.fp32_precision = 'ieee'", True),
        ("m = AutoModel.from_pretrained('x', dtype='auto')", True),
        ("m = m.to('cuda', dtype=torch.float32)", False),
        ("trainer = Trainer(precision=16)", True),
        ("print(args.dtype)", True),
    ],
)
def test_choices_of_precision(line: str, chosen: bool) -> None:
    made = programs(f"import torch\n{line}\n")
    assert (made.precision.chosen is not None) is chosen


def test_tests_are_no_programs() -> None:
    assert programs("import torch\n", "tests/test_model.py").is_test
    assert programs("import unittest\nunittest.main()\n").is_test
    assert not programs("import torch\n", "train.py").is_test


@pytest.mark.parametrize(
    ("line", "uses"),
    [
        ("model.cuda()", True),
        ("model.to('cuda')", True),
        ("device = 'cuda:0'\nmodel.to(device)", True),
        ("model.to('cpu')", False),
        ("from accelerate import Accelerator\na = Accelerator()", True),
        ("torch.cuda.manual_seed(0)", False),
    ],
)
def test_use_of_cuda(line: str, uses: bool) -> None:
    assert programs(f"import torch\n{line}\n").uses_cuda is uses
