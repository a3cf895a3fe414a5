"""A training script under test: what the tool makes of it, run as a user runs it, and measured."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import runpy
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch

HERE = Path(__file__).parent
NAMES = ("gpt2", "llama", "dit")
# Each column: what the tool is told before it fixes. None is the program as it was written.
COLUMNS: dict[str, list[str] | None] = {
    "before": None,
    "tf32": [],
    "bf16": ["--config", 'precision-policy = "bf16"'],
}
# A tiny configuration of each, for the CPU.
TINY = {
    "gpt2": "--vocabulary 128 --length 32 --width 32 --heads 2 --layers 2 --batch 2",
    "llama": "--vocabulary 128 --length 32 --width 32 --hidden 48 --heads 2 --layers 2 --batch 2",
    "dit": "--channels 4 --length 16 --width 32 --heads 2 --layers 2 --batch 2",
}


class Fixed(NamedTuple):
    """A copy of a script after the tool, and what it still says about it."""

    path: Path
    changed: int  # lines added
    remaining: list[str]


def fixed(name: str, column: str, folder: Path) -> Fixed:
    """Copy a script and run the tool on it, unsafe fixes allowed and nothing else chosen."""
    original = HERE / f"{name}.py"
    path = folder / column / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(original, path)
    options = COLUMNS[column]
    if options is None:
        return Fixed(path, 0, [])
    command = [sys.executable, "-m", "cudalint", "fix", "--unsafe-fixes", "--isolated"]
    command += ["--no-cache", "--output-format", "concise", *options, path.name]
    paths = [str(HERE.parents[1]), *(part for part in sys.path if part)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}  # it runs in another folder
    done = subprocess.run(
        command, cwd=path.parent, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"cudalint fix {name}.py: {done.stderr or done.stdout}")
    rows = difflib.ndiff(original.read_text().splitlines(), path.read_text().splitlines())
    remaining = [row for row in done.stdout.splitlines() if row.startswith(path.name)]
    return Fixed(path, sum(row.startswith("+ ") for row in rows), remaining)


class Run(NamedTuple):
    """A script that has run to its end: its names, its arguments and the losses it printed."""

    names: dict[str, Any]
    arguments: argparse.Namespace
    losses: list[float]


@contextlib.contextmanager
def running(path: Path, arguments: list[str]) -> Iterator[Run]:
    """Run a script as `__main__`; inside the block its choices for the process hold."""
    chosen = torch.get_float32_matmul_precision()
    printed = io.StringIO()
    torch.set_float32_matmul_precision("highest")
    try:
        with mock.patch.object(sys, "argv", [str(path), *arguments]):
            with contextlib.redirect_stdout(printed):
                names = runpy.run_path(str(path), run_name="__main__")
            given = names["arguments"]()
        losses = [float(row.rsplit(" ", 1)[1]) for row in printed.getvalue().splitlines()]
        yield Run(names, given, losses)
    finally:
        torch.set_float32_matmul_precision(chosen)


class Times(NamedTuple):
    """Milliseconds of a training step and of a forward pass, GiB at the peak of the step."""

    step: float
    forward: float
    peak: float


def measured(run: Run, compiled: bool, rounds: int) -> Times:
    """Build the model anew and time it, after enough steps that everything is compiled."""
    torch.compiler.reset()
    names, device = run.names, torch.device(run.arguments.device)
    model, optimizer = names["build"](run.arguments)
    batch = next(iter(names["batches"](run.arguments)))
    called = torch.compile(model) if compiled else model

    def step() -> None:
        names["train_step"](called, optimizer, *batch)

    def forward() -> None:
        with torch.no_grad():
            _up_to_the_loss(names["train_step"], called, batch)

    for _ in range(3):
        step()
    _reset_peak(device)
    stepped = _milliseconds(step, device, rounds)
    peak = _peak(device)
    for _ in range(3):
        forward()
    return Times(stepped, _milliseconds(forward, device, rounds), peak)


class _Done(Exception):
    """The forward pass is over."""


class _NoOptimizer:
    def zero_grad(self, *_: Any, **__: Any) -> None:
        """Nothing to free."""


def _up_to_the_loss(step: Callable[..., Any], model: Callable[..., Any], batch: Any) -> None:
    """The script's own step up to the end of the model call, under what it puts around it."""

    def once(*inputs: Any) -> None:
        model(*inputs)
        raise _Done

    with contextlib.suppress(_Done):
        step(once, _NoOptimizer(), *batch)


def _milliseconds(call: Callable[[], None], device: torch.device, rounds: int) -> float:
    """The median of single calls, each between two events of the device."""
    if device.type != "cuda":
        return statistics.median(_host(call) for _ in range(rounds))
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        times.append((start, end))
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in times)


def _host(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def _peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
