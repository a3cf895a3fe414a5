"""A folder of its own for every test, and the command line called in the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cudalint.cli import main

Lint = Callable[..., Result]
# Rules that are simple, independent of each other and of the settings.
SELECT = ("--isolated", "--no-cache", "--select=CUP002,CUP003,CUE002")

SCALER = """\
import torch
from torch.cuda.amp import GradScaler

scaler = GradScaler()
"""
FIXED = """\
import torch

scaler = torch.amp.GradScaler("cuda")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with one file that has one finding."""
    monkeypatch.chdir(tmp_path)
    for name in ("CACHE_DIR", "NO_CACHE", "OUTPUT_FORMAT", "OUTPUT_FILE"):
        monkeypatch.delenv(f"CUDALINT_{name}", raising=False)
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "a.py").write_text(SCALER)
    return tmp_path


@pytest.fixture
def lint(folder: Path) -> Lint:
    """`cudalint` with arguments; `select=False` leaves the rules to the arguments."""

    def call(*arguments: str, stdin: str | bytes | None = None, select: bool = True) -> Result:
        words = [*arguments[:1], *SELECT, *arguments[1:]] if select else [*arguments]
        result = CliRunner().invoke(main, words, input=stdin, prog_name="cudalint")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result

    return call
