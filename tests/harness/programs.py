"""Fixtures on disk: the before/after programs and the blocks of `cases.md`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from cudalint.registry import by_name
from tests.harness.marks import Marked, strip

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
_KEYS = "select|run|tolerance|build|config|sizes|assume-compiled"
SUFFIXES = {"python": ".py", "cuda": ".cu"}


class Program(NamedTuple):
    """A `before` with its `after` (None for advice) and what its header comments say."""

    path: Path
    codes: tuple[str, ...]
    before: Marked
    after: str | None
    options: dict[str, str]

    @property
    def id(self) -> str:
        return str(self.path.parent.relative_to(FIXTURES))

    @property
    def is_cuda(self) -> bool:
        return self.path.suffix == ".cu"


class Case(NamedTuple):
    """One fenced block of a `cases.md`."""

    id: str
    codes: tuple[str, ...]
    language: str
    block: Marked


def programs() -> list[Program]:
    """Every `before.py` and `before.cu` under `fixtures/`."""
    return [_program(path) for path in sorted(FIXTURES.rglob("before.*"))]


def _program(path: Path) -> Program:
    before = strip(path.read_text(encoding="utf-8"))
    after = path.with_name("after" + path.suffix)
    options = _options(before.text)
    rule = path.relative_to(FIXTURES).parts[0]
    if rule == "together":
        codes = tuple(re.split(r"[ ,]+", options["select"]))
    else:
        codes = (by_name()[rule].code,)
    text = after.read_text(encoding="utf-8") if after.exists() else None
    return Program(path, codes, before, text, options)


def _options(text: str) -> dict[str, str]:
    """The `# KEY: VALUE` comments at the top: select, run, tolerance, build, config, sizes, …"""
    found: dict[str, str] = {}
    for row in text.split("\n"):
        match = re.match(rf"(?:#|//) ({_KEYS}): (.*)", row)
        if not match:
            break
        found[match[1]] = match[2].strip()
    return found


def cases() -> list[Case]:
    """Every fenced block of every `cases.md`."""
    found: list[Case] = []
    for path in sorted(FIXTURES.glob("*/cases.md")):
        code = by_name()[path.parent.name].code
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(python|cuda)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            row = text[: match.start()].count("\n") + 1
            case = f"{path.parent.name}:{row}"
            found.append(Case(case, (code,), match[1], strip(match[2])))
    return found
