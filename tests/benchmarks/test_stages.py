"""The timers of `benchmarks.stages` hold on to functions by name: each must still be one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.program import program
from benchmarks.stages import STEPS, stages


def test_every_step_is_timed(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(program(200, fixable=True), encoding="utf-8")
    seconds = stages(tmp_path)
    assert [step for step in STEPS if not seconds[step] > 0] == []
