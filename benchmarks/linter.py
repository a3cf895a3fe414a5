"""`python -m benchmarks.linter`: time and memory of cudalint beside `ruff check`, in turn.

Whole processes, output to a file, alternating runs, medians; the ratio is taken run by run, so that
it holds where the machine's speed drifts. `--tree` is the tree to check (default: the installed
torch package), `--file` one file of about 1,000 lines (default: one that is generated).
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.program import program
from benchmarks.stages import stages

RUNS = 7
# The rules for which the budgets were set; more have come since.
FIRST = "CUS001,CUS004,CUD001,CUD004,CUP001,CUP002,CUP003,CUF001,CUF002,CUF004,CUN001,CUT001,CUK001,CUK002,CUK007"


class Usage(NamedTuple):
    """One process: wall seconds, CPU seconds, and the peak memory of its largest process in MB."""

    wall: float
    cpu: float
    memory: float


class Row(NamedTuple):
    """A command beside its peer: medians, and the median of the ratios run by run."""

    name: str
    ours: Usage
    peer: Usage | None
    ratio: float | None
    budget: str


def measure(command: list[str]) -> Usage:
    """Run a command once; its output goes to a file, as a log of CI would."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=tempfile.gettempdir())
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def row(name: str, ours: list[str], peer: list[str] | None, runs: int, budget: str) -> Row:
    """Alternate two commands after one warm-up each."""
    for command in filter(None, (ours, peer)):
        measure(command)
    pairs = [(measure(ours), measure(peer) if peer else None) for _ in range(runs)]
    ratios = [one.wall / other.wall for one, other in pairs if other is not None]
    peers = [other for _, other in pairs if other is not None]
    return Row(
        name,
        _median([one for one, _ in pairs]),
        _median(peers) if peers else None,
        statistics.median(ratios) if ratios else None,
        budget,
    )


def _median(usages: list[Usage]) -> Usage:
    return Usage(*(statistics.median(values) for values in zip(*usages, strict=True)))


def rows(tree: Path, single: Path, fixable: Path, runs: int) -> list[Row]:
    """All commands, each with the budget that it is held to."""
    ours = [sys.executable, "-m", "cudalint", "check", "--isolated"]
    ruff = [shutil.which("ruff") or "ruff", "check", "--isolated"]
    cold, concise = ["--no-cache"], ["--output-format", "concise"]
    with tempfile.TemporaryDirectory() as cache:
        warm, warm_ruff = ["--cache-dir", f"{cache}/a"], ["--cache-dir", f"{cache}/b"]
        at, one, shown = [str(tree)], [str(single)], [str(fixable)]
        full = ["--output-format", "full"]
        first = ["--select", FIRST]
        cold_rows = [
            row(
                f"tree, cold, {name}",
                ours + cold + more + at,
                ruff + cold + how + at,
                runs,
                "2x ruff",
            )
            for name, how, more in (
                ("concise", concise, concise),
                ("default format", [], []),
                ("concise, the first 15 rules", concise, concise + first),
                ("default format, the first 15 rules", [], first),
            )
        ]
        return [
            *cold_rows,
            row(
                "tree, warm, concise",
                ours + warm + concise + at,
                ruff + warm_ruff + concise + at,
                runs,
                "2x ruff",
            ),
            row(
                "one file, concise",
                ours + cold + concise + one,
                ruff + cold + concise + one,
                runs,
                "120 ms",
            ),
            row("one file, LibCST fix shown", ours + cold + full + shown, None, runs, "400 ms"),
            row("start: --version", [*ours[:3], "--version"], None, runs, ""),
        ]


def _torch() -> Path:
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise SystemExit("torch is not installed: name a tree with --tree")
    return Path(found.origin).parent


def report(tree: Path, made: list[Row], stage_seconds: dict[str, float]) -> str:
    """The rows as Markdown."""
    lines = [
        "| what | ours ms | CPU ms | peak MB | ruff ms | ratio | budget |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, ours, peer, ratio, budget in made:
        other = f"{peer.wall * 1e3:.0f}" if peer else ""
        times = f"{ratio:.2f}" if ratio is not None else ""
        lines.append(
            f"| {name} | {ours.wall * 1e3:.0f} | {ours.cpu * 1e3:.0f} | {ours.memory:.0f} "
            f"| {other} | {times} | {budget} |"
        )
    lines += [
        "",
        f"Where the time goes, one process over {tree.name}:",
        "",
        "| stage | ms |",
        "|---|---|",
    ]
    lines += [f"| {stage} | {seconds * 1e3:.0f} |" for stage, seconds in stage_seconds.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    tree = (given.tree or _torch()).resolve()
    with tempfile.TemporaryDirectory() as folder:
        single, fixable = Path(folder, "single.py"), Path(folder, "fixable.py")
        single.write_text(program(1000, fixable=False), encoding="utf-8")
        fixable.write_text(program(1000, fixable=True), encoding="utf-8")
        made = rows(tree, single, fixable, given.runs)
    stage_seconds = stages(tree)
    print(report(tree, made, stage_seconds))
    if given.json:
        document = {
            "date": datetime.date.today().isoformat(),
            "command": "python -m benchmarks.linter",
            "python": platform.python_version(),
            "ruff": subprocess.run(
                ["ruff", "--version"], capture_output=True, text=True, check=True
            ).stdout.strip(),
            "processors": os.cpu_count(),
            "tree": f"{tree.name}, {sum(1 for _ in tree.rglob('*.py'))} Python files",
            "runs": given.runs,
            "rows": [_plain(r) for r in made],
            "stages": stage_seconds,
        }
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _plain(made: Row) -> dict[str, object]:
    return {
        "name": made.name,
        "ours": made.ours._asdict(),
        "ruff": made.peer._asdict() if made.peer else None,
        "ratio": made.ratio,
        "budget": made.budget,
    }


if __name__ == "__main__":
    main()
