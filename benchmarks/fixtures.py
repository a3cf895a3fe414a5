"""`python -m benchmarks.fixtures --json OUT`: every fusion fixture before and after, on a GPU.

A fixture's tensors are repeated along their first dim until a run takes a millisecond, where its
inputs allow that. No fix may make such a run slower by more than 2 %, eager or compiled.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import itertools
import json
import runpy
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tests.harness.programs import Program, programs

LONG, SLOWER = 1.0, 1.02  # milliseconds; times as long
FACTORS = (1, 16, 256, 4096, 32768)
ROUNDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fixtures", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--only", default="CUF", help="start of a code, or of a fixture's name")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--eager", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args()
    rows = []
    for program in _chosen(arguments.only):
        torch.compiler.reset()
        for row in measured(
            program, arguments.device, ("eager", "compiled")[: 2 - arguments.eager]
        ):
            rows.append(row)
            print(json.dumps(row), flush=True)
    is_cuda = arguments.device == "cuda"
    result = {
        "device": torch.cuda.get_device_name() if is_cuda else "CPU",
        "torch": torch.__version__,
        "command": f"python -m benchmarks.fixtures --only {arguments.only}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "rows": rows,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    if arguments.markdown:
        arguments.markdown.write_text(text)
    print(text)


def _chosen(only: str) -> list[Program]:
    """Python fixtures that a fix changes and that may be run."""
    return [
        program
        for program in programs()
        if not program.is_cuda
        and program.after is not None
        and not program.options.get("run", "").startswith(("never", "gpu2"))
        and (program.id.startswith(only) or any(code.startswith(only) for code in program.codes))
    ]


def measured(program: Program, device: str, modes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Both sides at the first size whose kernels take long enough, else at the largest that runs."""
    base = {"fixture": program.id, "codes": list(program.codes)}
    sides = [program.path.with_name(f"{side}.py") for side in ("before", "after")]
    factor = 0
    for mode in modes:
        row: dict[str, Any] = base | {"mode": mode}
        try:
            factor = factor or _factor(sides[0], device)
            calls = [_call(path, factor, mode, device) for path in sides]
            turns = [[_times(call, device) for call in calls] for _ in range(2)]
            before, after = (
                min(times, key=lambda t: t["wall"]) for times in zip(*turns, strict=True)
            )
            row |= {"factor": factor, "before": before, "after": after}
            row["ratio"] = after["wall"] / before["wall"]
        except Exception as error:
            lines = str(error).splitlines() or [""]
            row["error"] = f"{type(error).__name__}: {lines[0][:200]}"
        yield row


def _factor(path: Path, device: str) -> int:
    """How often the inputs are repeated."""
    factor = 0
    for factor, larger in itertools.pairwise((*FACTORS, 0)):
        times = _times(_call(path, factor, "eager", device), device)
        if max(times["gpu"], times["host"] if device != "cuda" else 0.0) >= LONG or not larger:
            break
        try:
            _call(path, larger, "eager", device)
        except Exception:  # the inputs do not allow this size
            break
    return factor


def _call(path: Path, factor: int, mode: str, device: str) -> Callable[[], None]:
    """A run of one side on inputs of its own, warmed up."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    torch.manual_seed(0)
    names = runpy.run_path(str(path))
    given = names["inputs"](device)
    if factor > 1:
        given = _repeated(given, factor)
    run = torch.compile(names["run"]) if mode == "compiled" else names["run"]

    def call() -> None:
        run(*given)

    for _ in range(3):
        call()
    return call


def _times(call: Callable[[], None], device: str) -> dict[str, float]:
    """Milliseconds a run: between events, of the host alone, of kernels alone."""
    if device != "cuda":
        host = statistics.median(_host(call) for _ in range(3))
        return {"wall": host, "host": host, "gpu": 0.0}
    torch.cuda.synchronize()
    wall = statistics.median(_between_events(call))
    return {"wall": wall, "host": _host(call), "gpu": _kernels(call)}


def _repeated(given: Any, factor: int) -> Any:
    """The inputs with every tensor repeated that has as many rows as the first one."""
    first = next((x for x in given if isinstance(x, torch.Tensor) and x.dim() > 1), None)
    if first is None:
        raise ValueError("no tensor to repeat")

    def repeated(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == first.shape[0]:
            made = value.detach().repeat(factor, *[1] * (value.dim() - 1))
            return made.requires_grad_(value.requires_grad)
        if isinstance(value, (tuple, list)):
            return type(value)(repeated(inner) for inner in value)
        return value

    return tuple(repeated(value) for value in given)


def _between_events(call: Callable[[], None]) -> list[float]:
    pairs = []
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        pairs.append((start, end))
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in pairs]


def _host(call: Callable[[], None]) -> float:
    """Until the call is back, the device's queue empty before it."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def _kernels(call: Callable[[], None]) -> float:
    """The time of all kernels of a run, without the gaps between them."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        call()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e3


def markdown(result: dict[str, Any]) -> str:
    lines = [
        f"# Fusion fixtures before and after, {result['date']}",
        "",
        f"`{result['command']}` · {result['device']} · torch {result['torch']}. Milliseconds of one "
        "`run`: between CUDA events, of kernels alone, of the host until the call is back. Runs whose "
        f"kernels take at least {LONG:g} ms may not be more than {SLOWER - 1:.0%} slower.",
        "",
        "| fixture | mode | × inputs | before | after | after / before | kernels | host | |",
        "|" + " --- |" * 9,
    ]
    for row in result["rows"]:
        lines.append(f"| {row['fixture']} | {row['mode']} | {_cells(row)} |")
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> str:
    if "error" in row:
        return f" – | – | – | – | – | – | {row['error']}"
    before, after = row["before"], row["after"]
    pairs = [f"{before[of]:.2f} → {after[of]:.2f}" for of in ("gpu", "host")]
    verdict = "short" if before["gpu"] < LONG else "slower" if row["ratio"] > SLOWER else "met"
    cells = [str(row["factor"]), f"{before['wall']:.2f}", f"{after['wall']:.2f}"]
    return " | ".join([*cells, f"{row['ratio']:.2f}", *pairs, verdict])


if __name__ == "__main__":
    main()
