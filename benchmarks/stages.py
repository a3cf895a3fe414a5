"""Where the time of a run goes, measured in one process by timers around its steps."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

STEPS = ("start", "walk", "read", "sieve", "parse", "facts", "rules", "render")


class Clock:
    """Self time of nested steps: what an inner step takes is not counted to the outer one."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.stack: list[str] = []
        self.since = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._turn()
        self.stack.append(name)
        try:
            yield
        finally:
            self._turn()
            self.stack.pop()

    def _turn(self) -> None:
        now = time.perf_counter()
        if self.stack:
            self.seconds[self.stack[-1]] += now - self.since
        self.since = now

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.step(name):
                return function(*args, **kwargs)

        return call


def stages(tree: Path) -> dict[str, float]:
    """Seconds by step over a tree; facts are what the facts modules' constructors and methods take."""
    from cudalint import engine, parse
    from cudalint import run as runner
    from cudalint.config import Configuration
    from cudalint.discover import discover
    from cudalint.facts.graph.graphs import Graphs
    from cudalint.facts.loops import Loops
    from cudalint.facts.names import Names
    from cudalint.facts.tensors import Tensors
    from cudalint.render import View
    from cudalint.render.concise import render
    from cudalint.report import Target
    from cudalint.sieve import Sieve

    clock = Clock()
    clock.seconds["start"] = _start()
    configuration = Configuration(isolated=True)
    settings = configuration.of(str(tree))
    with clock.step("walk"):
        found, _ = discover([str(tree)], configuration)
        targets = [Target(each.path) for each in found]
    patches = [
        mock.patch.object(Sieve, "search", clock.timed("sieve", Sieve.search)),
        mock.patch.object(Sieve, "passed", clock.timed("sieve", Sieve.passed)),
        mock.patch("cudalint.facts.trees.parse", clock.timed("parse", parse.parse)),
        mock.patch.object(engine, "analyse", clock.timed("rules", engine.analyse)),
    ]
    for facts in (Names, Loops, Tensors, Graphs):
        for name, value in list(vars(facts).items()):
            if callable(value) and not name.startswith("_"):
                patches.append(mock.patch.object(facts, name, clock.timed("facts", value)))
    for patch in patches:
        patch.start()
    try:
        with clock.step("read"):
            report = runner.run(targets, settings, jobs=1)
    finally:
        mock.patch.stopall()
    with clock.step("render"), open(os.devnull, "w", encoding="utf-8") as nowhere:
        nowhere.write(render(report, View(str(tree))))
    return {step: clock.seconds[step] for step in STEPS}


def _start() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cudalint", "--version"], capture_output=True, check=True)
    return time.perf_counter() - begin
