"""The progress bar: late, over all runs, and only where somebody sees it."""

from __future__ import annotations

from typing import Any

import pytest

from cudalint.render import terminal
from cudalint.render.terminal import Terminal


class Fake:
    """Notes what a bar is told."""

    def __init__(self) -> None:
        self.task_ids = [0]
        self.seen: list[int] = []
        self.stopped = False

    def update(self, _: int, completed: int, **__: Any) -> None:
        self.seen.append(completed)

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(terminal, "_bar", lambda total: fake)
    monkeypatch.setattr(terminal, "REFRESH", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    return fake


def test_several_runs_are_one_bar(bar: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "PATIENCE", -1.0)
    with Terminal(None, "never", False).progress(5, wanted=True) as progress:
        assert progress is not None
        for done, total in ((1, 2), (2, 2), (1, 3), (3, 3)):
            progress(done, total)
    assert bar.seen == [1, 2, 3, 5] and bar.stopped


def test_a_short_run_has_none(bar: Fake) -> None:
    with Terminal(None, "never", False).progress(5, wanted=True) as progress:
        assert progress is not None
        progress(5, 5)
    assert bar.seen == []


@pytest.mark.parametrize(("wanted", "silent"), [(False, False), (True, True)])
def test_who_wants_quiet_has_none(bar: Fake, wanted: bool, silent: bool) -> None:
    with Terminal(None, "never", silent).progress(5, wanted=wanted) as progress:
        assert progress is None
