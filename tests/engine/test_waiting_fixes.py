"""A fix that writes a function without a kernel waits until it is asked for by name."""

from __future__ import annotations

import pytest

from cudalint import engine
from cudalint.config import Configuration
from cudalint.diagnostics import diagnostics
from cudalint.fixes.fusion import _kernels
from cudalint.model import PackageFacts, Source

CAPPED = b"""import torch


def attend(q, k, v):
    scores = 30.0 * torch.tanh(q @ k.transpose(-2, -1) / 30.0)
    return torch.softmax(scores, dim=-1) @ v
"""


@pytest.fixture
def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kernels, "WITHOUT_KERNEL", frozenset({"attention"}))


def finding(**flags: object) -> engine.Diagnostic:
    settings = Configuration(isolated=True, flags={"select": ["CUF001"], **flags}).of(".")
    source = Source("capped.py", CAPPED, "python")
    analysis = engine.analyse(source, settings.rules, settings, PackageFacts())
    (diagnostic,) = diagnostics(analysis, settings, edits=False)
    return diagnostic


def test_a_soft_cap_does_not_wait() -> None:
    offered = finding()
    assert offered.fix is not None and "attention" in offered.fix.title


@pytest.mark.usefixtures("without_kernel")
def test_it_is_reported_and_says_how_to_ask() -> None:
    waiting = finding()
    assert waiting.fix is None
    assert "no kernel of its own yet" in waiting.message
    assert "--extend-fixable CUF001" in waiting.message


@pytest.mark.usefixtures("without_kernel")
def test_a_prefix_does_not_ask_and_the_code_does() -> None:
    assert finding(**{"extend-fixable": ["CUF"]}).fix is None
    asked = finding(**{"extend-fixable": ["CUF001"]})
    assert asked.fix is not None and "attention" in asked.fix.title
