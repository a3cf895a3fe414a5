"""`python -m benchmarks.real_models WORK transformers diffusers timm`: fixes on others' packages.

Copies installed packages twice, fixes one copy with the fusion rules, imports every changed file and
runs what changed on the CPU, built small, before and after. Nothing of a package is kept.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.real_models import changed, report

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"transformers": "models", "diffusers": "models", "timm": "."}
PORTION = 25  # modules a process


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_models", description=__doc__)
    parser.add_argument("work", type=Path, help="an empty folder, for the copies")
    parser.add_argument("packages", nargs="+", choices=list(FOLDERS))
    parser.add_argument("--select", default="CUF")
    parser.add_argument("--by-name", default="", help="for --extend-fixable: functions that wait")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--skip-run", action="store_true", help="count only")
    arguments = parser.parse_args()
    options = [
        "--select",
        arguments.select,
        "--unsafe-fixes",
        "--isolated",
        "--no-cache",
        "-j",
        "1",
    ]
    options += ["--extend-fixable", arguments.by_name] if arguments.by_name else []
    result: dict[str, Any] = {"packages": {}, "trials": {}}
    for package in arguments.packages:
        before, after = _copied(package, arguments.work)
        result["packages"][package] = _found(before, options)
        _lint("fix", after, options)
        jobs = list(_jobs(package, arguments.work))
        print(package, len(jobs), "files changed", flush=True)
        if not arguments.skip_run:
            result["trials"] |= _trials(jobs, arguments.work)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print(report.markdown(result))


def _copied(package: str, work: Path) -> tuple[Path, Path]:
    """Two copies of an installed package; the folders of its models in them."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"benchmarks.real_models: {package} is not installed")
    folders = []
    for side in ("before", "after"):
        target = work / side / package
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(Path(spec.origin).parent, target)
        folders.append(target / FOLDERS[package])
    return folders[0], folders[1]


def _lint(command: str, folder: Path, options: list[str], output: str = "json") -> str:
    line = [sys.executable, "-m", "cudalint", command, *options, "--output-format", output, "."]
    paths = [str(ROOT), *(part for part in sys.path if part)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}  # it runs in another folder
    done = subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(line)}: {done.stderr}")
    return done.stdout


def _found(folder: Path, options: list[str]) -> dict[str, dict[str, int]]:
    """Of each rule: how many findings are rewritten, and why the others are not."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in json.loads(_lint("check", folder, options)):
        _, _, reason = row["message"].partition("; not rewritten: ")
        counts[row["code"]]["rewritten" if row["fix"] else reason or "advice"] += 1
    return {code: dict(reasons.most_common()) for code, reasons in sorted(counts.items())}


def _jobs(package: str, work: Path) -> Any:
    """The files that the fix changed, with the functions that it changed in them."""
    for path in sorted((work / "before" / package).rglob("*.py")):
        relative = path.relative_to(work / "before")
        text, new = path.read_text(), (work / "after" / relative).read_text()
        if text != new:
            module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            yield {"module": module, "functions": changed.functions(text, new)}


def _trials(jobs: list[dict[str, Any]], work: Path) -> dict[str, Any]:
    """Run all jobs on both sides, a few to a process.

    What differs runs again in float64: a rounding may turn a maximum that a pooling takes.
    """
    found: dict[str, Any] = {}
    for start in range(0, len(jobs), PORTION):
        portion = jobs[start : start + PORTION]
        trials = _tried(portion, work, "float32")
        differing = [job for job in portion if trials[job["module"]]["verdict"] == "DIFFERS"]
        for module, trial in _tried(differing, work, "float64").items() if differing else ():
            if trial["verdict"] == "agrees":
                trials[module]["verdict"] = "agrees in float64"
        for module, trial in trials.items():
            _say(module, trial)
        found |= trials
    return found


def _tried(jobs: list[dict[str, Any]], work: Path, dtype: str) -> dict[str, Any]:
    before = _side(work, "before", [job | {"guesses": None} for job in jobs], dtype)
    for job in jobs:
        runs = before[job["module"]].get("runs", {})
        job["guesses"] = {label: run["guess"] for label, run in runs.items()}
    after = _side(work, "after", jobs, dtype)
    return {j["module"]: report.trial(j, before[j["module"]], after[j["module"]]) for j in jobs}


def _say(module: str, trial: dict[str, Any]) -> None:
    is_fine = trial["verdict"] == "agrees"
    print(module, trial["verdict"], *([] if is_fine else trial["failures"]), sep="; ", flush=True)


def _side(work: Path, side: str, jobs: list[dict[str, Any]], dtype: str) -> dict[str, Any]:
    import torch

    given, out = work / "jobs.json", work / f"{side}.pt"
    given.write_text(json.dumps(jobs))
    line = [sys.executable, "-m", "benchmarks.real_models.child", str(work / side)]
    subprocess.run([*line, str(given), str(out), dtype], check=True)
    return torch.load(out, weights_only=False)


if __name__ == "__main__":
    main()
