"""A toy rule in the place of CUS001: it finds every `.item()` call and writes what a test asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from cudalint import registry
from cudalint.facts.python import PythonFacts
from cudalint.model import Edit, Finding, PackageFacts, Patch, Plan, Refusal, Source, Span
from cudalint.reach import Reach
from cudalint.settings import Settings

Writer = Callable[[Plan], Patch]


def replacing(text: str) -> Writer:
    """A fix that puts `text` where the call was."""
    return lambda plan: Patch((Edit(plan.finding.span, text.encode()),))


def install(
    monkeypatch: pytest.MonkeyPatch, write: Writer, plan: Plan | Refusal | None = None
) -> None:
    """Let CUS001 find `.item()` calls and mend them by `write`."""

    def check(facts: PythonFacts) -> Iterator[Finding]:
        for call in facts.calls("item"):
            yield Finding("CUS001", Span(call.start_byte, call.end_byte), "toy")

    def planned(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
        return plan or Plan("safe", "toy fix", finding, facts)

    monkeypatch.setattr(Reach, "any", True)
    monkeypatch.setattr(Reach, "runs", lambda self, place: True)
    monkeypatch.setattr(registry.Rule, "load_check", lambda self: SimpleNamespace(check=check))
    fixer = SimpleNamespace(plan=planned, write=write)
    monkeypatch.setattr(registry.Rule, "load_fix", lambda self: fixer)


RULES = ("CUS001", "CUE002", "CUE003", "CUE004")
SETTINGS = Settings.selecting(*RULES)
PACKAGE = PackageFacts()


def source(text: str | bytes, path: str = "a.py") -> Source:
    """A Python source that passes the toy's sieve."""
    data = text.encode() if isinstance(text, str) else text
    return Source(path, data)
