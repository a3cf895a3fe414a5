"""A registry with a rule that is off by default, whatever rules there are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cudalint import registry
from cudalint.registry import Rule

HINT = Rule("CUL001", "uncompiled-hot-model", False, ("python",), ((b"torch",),), None)


@pytest.fixture
def hint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rule]:
    """CUL001 as a hint."""
    others = tuple(rule for rule in registry.RULES if rule.code != HINT.code)
    monkeypatch.setattr(registry, "RULES", (*others, HINT))
    _forget()
    yield HINT
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    registry.by_code.cache_clear()
    registry.by_name.cache_clear()
