"""Runs the command over labelled programs and scores what it says.

Every program at the top of the folder is checked in a folder of its own, because the linter reads
a few facts from a file's neighbours; programs in subfolders keep their company.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from .marks import Labels, Spot, read, strip
from .score import Score, score

SUFFIXES = {".py", ".cu", ".cuh", ".cpp", ".h"}
COMMAND = (sys.executable, "-c", "from cudalint.__main__ import main; main()")
RULES = [
    *("CUS001", "CUS004", "CUD001", "CUD004", "CUP001", "CUP002", "CUP003", "CUF001", "CUF002"),
    *("CUF003", "CUF004", "CUF005", "CUF006", "CUF007", "CUF008", "CUF009", "CUF010", "CUF011"),
    *("CUF012", "CUF013", "CUF014", "CUF015", "CUF016", "CUF017", "CUF018", "CUF019", "CUF020"),
    *("CUF021", "CUF022", "CUF023", "CUN001", "CUT001", "CUK001", "CUK002", "CUK007"),
]


class Verdict(NamedTuple):
    """Scores by rule, the last line of each finding, and what the command could not do."""

    scores: dict[str, Score]
    spans: dict[Spot, int]
    problems: str


def programs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)


def lay_out(folder: Path, target: Path) -> dict[Path, str]:
    """Copies the programs without their marks; which copy is which program."""
    copies = {}
    for path in programs(folder):
        name = path.relative_to(folder)
        home = target / (path.name.replace(".", "_") if len(name.parts) == 1 else "") / name
        home.parent.mkdir(parents=True, exist_ok=True)
        home.write_text(strip(path.read_text("utf-8")), "utf-8")
        copies[home] = name.as_posix()
    return copies


def labels(folder: Path, codes: list[str]) -> list[Labels]:
    """What people read in the programs, as far as it is about these rules."""
    every = [
        read(path.relative_to(folder).as_posix(), path.read_text("utf-8"))
        for path in programs(folder)
    ]
    return [
        Labels(*(frozenset(spot for spot in kind if spot.code in codes) for kind in one))
        for one in every
    ]


def report(target: Path, codes: list[str]) -> tuple[list[dict[str, Any]], str]:
    """The command's JSON for a folder, and its complaints where it could not do all its work."""
    options = ["--isolated", "--no-cache", "--output-format", "json", "--select", ",".join(codes)]
    ran = subprocess.run([*COMMAND, "check", *options, str(target)], capture_output=True, text=True)
    if not ran.stdout.startswith("["):
        raise RuntimeError(f"cudalint check failed with {ran.returncode}:\n{ran.stderr}")
    return json.loads(ran.stdout), ran.stderr if ran.returncode not in (0, 1) else ""


def judge(folder: Path, codes: list[str] | None = None) -> Verdict:
    """Checks the programs of a folder and scores what is said about these rules."""
    codes = codes or RULES
    if not programs(folder):
        raise FileNotFoundError(f"no programs in {folder}")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch).resolve()
        copies = lay_out(folder, target)
        findings, problems = report(target, codes)
    spans = {
        Spot(copies[Path(one["filename"])], one["location"]["row"], one["code"]): one[
            "end_location"
        ]["row"]
        for one in findings
        if one["code"] in codes
    }
    return Verdict(score(labels(folder, codes), spans), spans, problems)
