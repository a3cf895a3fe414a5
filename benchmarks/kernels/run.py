"""One run on one GPU: family by family, each stored as soon as it is done."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config

from benchmarks.kernels import accuracy
from benchmarks.kernels.case import Case
from benchmarks.kernels.cases import OPERATIONS
from benchmarks.kernels.comparisons import comparisons
from benchmarks.kernels.host import host_rows
from benchmarks.kernels.timing import ceilings, row_times

FAMILIES = list(OPERATIONS)

# What a family took on an H200, compilation from cold caches and all: how shares are made.
SECONDS = {
    "own_attention": 171, "rms_norm": 43, "softmax": 39, "quantized_linear": 38, "adaptive_norm": 35,
    "layer_norm": 30, "add_norm": 22, "glu": 20, "attention": 17, "attention_varlen": 3,
}  # fmt: skip
USUAL_SECONDS = 12


def shard(families: list[str], index: int, number: int) -> list[str]:
    """The `index`-th share, from 1, of `number` that take about as long."""
    shares: list[list[str]] = [[] for _ in range(number)]
    for family in sorted(families, key=_seconds, reverse=True):
        min(shares, key=lambda share: sum(map(_seconds, share))).append(family)
    return [family for family in families if family in shares[index - 1]]


def _seconds(family: str) -> int:
    return SECONDS.get(family, USUAL_SECONDS)


def measure(
    families: list[str], file: Path, matching: str = "", only: Sequence[str] = ()
) -> dict[str, Any]:
    """All tables of `families`. `file` holds each row as soon as it is done, should time run out.

    With `matching` only the times, of rows whose shape begins with it; with `only` these tables.
    """
    torch._inductor.config.compile_threads = 1  # the host is being timed, here and in other shards
    begin = time.perf_counter()
    run = {"command": _command(), "date": _today(), "ceilings": ceilings(), "seconds": {}}
    result = machine() | {"date": run["date"], "runs": [run]}
    result |= {"rows": [], "host": [], "accuracy": [], "failed": []}
    print(result["device"], run["ceilings"], f"{time.perf_counter() - begin:.0f} s", flush=True)
    for family in families:
        start = time.perf_counter()
        tables = _TABLES if not matching else {"rows": partial(_timed_rows, matching=matching)}
        tables = {name: rows for name, rows in tables.items() if name in (only or TABLES)}
        for table, rows in tables.items():
            try:
                for row in rows(family):
                    result[table].append(row)
                    file.write_text(json.dumps(result, indent=1) + "\n")
            except Exception as error:  # the other tables are wanted all the same
                traceback.print_exc()
                message = f"{table}: {_line(error)}"
                result["failed"].append({"family": family, "error": message, "run": 0})
        run["seconds"][family] = round(time.perf_counter() - start, 1)
        print(f"== {family}: {run['seconds'][family]} s", flush=True)
        torch._dynamo.reset()
        torch.cuda.empty_cache()
    file.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _timed_rows(family: str, matching: str = "") -> Iterator[dict[str, Any]]:
    for case in OPERATIONS[family]():
        if not case.shape.startswith(matching):
            continue
        start = time.perf_counter()
        row = timed(family, case)
        took = f"{time.perf_counter() - start:.1f} s"
        print(case.operation, case.shape, case.mode, _brief(row), "in", took, flush=True)
        yield row


def _accuracy_rows(family: str) -> Iterator[dict[str, Any]]:
    return accuracy.rows(family, comparisons(family, "cuda"), "cuda")


_TABLES: dict[str, Callable[[str], Iterator[dict[str, Any]]]] = {
    "rows": _timed_rows, "host": host_rows, "accuracy": _accuracy_rows,
}  # fmt: skip
TABLES = tuple(_TABLES)


def timed(family: str, case: Case) -> dict[str, Any]:
    timing = row_times(case.calls, case.is_replayed, case.turns, case.is_compute)
    return {
        "family": family,
        "operation": case.operation,
        "shape": case.shape,
        "mode": case.mode,
        "work": case.work,
        "is_compute": case.is_compute,
        "bar": None if case.bar is None else asdict(case.bar),
        **timing._asdict(),
        "run": 0,
    }


def machine() -> dict[str, Any]:
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "device": torch.cuda.get_device_name(),
        "driver": driver.partition("\n")[0],  # a line for each GPU
        "torch": torch.__version__,
        "triton": _version("triton"),
        "liger": _version("liger-kernel"),
    }


def _command() -> str:
    """As given, but for where results went."""
    given = iter(sys.argv[1:])
    files = ("--json", "--markdown", "--plot", "--compare")
    words = [
        f"{word} {next(given).rpartition('/')[2]}" if word in files else word for word in given
    ]
    return " ".join(["python -m benchmarks.kernels", *words])


def _today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def _brief(row: dict[str, Any]) -> str:
    times = row["seconds"].items()
    return " ".join(f"{k}={v * 1e6:.1f}" if isinstance(v, float) else f"{k}=–" for k, v in times)
