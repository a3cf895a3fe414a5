"""`python -m benchmarks.models --json OUT`: hand-written models before and after the tool alone."""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch

from benchmarks.models import report
from benchmarks.models.program import COLUMNS, NAMES, TINY, Run, fixed, measured, running

ROUNDS = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--json", type=Path, help="where the result goes, if anywhere")
    parser.add_argument("--markdown", type=Path, help="where the tables go, if anywhere")
    parser.add_argument("--only", choices=NAMES, help="one model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU")
    parser.add_argument("--steps", type=int, default=50, help="of the loss curves")
    parser.add_argument("--eager", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("benchmarks.models: no CUDA device here")
    result = measure(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    text = report.markdown(result)
    if arguments.markdown:
        arguments.markdown.write_text(text)
    print(text)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every model in every column; each row is printed as it comes."""
    result = machine(arguments) | {"rows": []}
    for name in [arguments.only] if arguments.only else NAMES:
        for column in COLUMNS:
            with tempfile.TemporaryDirectory() as folder:
                row = _row(name, column, Path(folder), arguments)
            result["rows"].append(row)
            print(json.dumps({k: v for k, v in row.items() if k != "losses"}), flush=True)
            gc.collect()
            if arguments.device == "cuda":
                torch.cuda.empty_cache()
    return result


def _row(name: str, column: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    done = fixed(name, column, folder)
    row = {"model": name, "column": column, "lines": done.changed, "remaining": done.remaining}
    options = ["--steps", str(given.steps), "--device", given.device]
    try:
        with running(done.path, options + (TINY[name].split() if given.tiny else [])) as run:
            row |= {"losses": run.losses, "arguments": vars(run.arguments)}
            row["eager"] = _times(run, False, given)
            row["compiled"] = None if given.eager else _times(run, True, given)
    except Exception as error:
        failed = None if given.eager else _failed(error)
        row |= {"losses": [], "eager": _failed(error), "compiled": failed}
    return row


def _times(run: Run, compiled: bool, given: argparse.Namespace) -> dict[str, Any]:
    """Times of one mode; what fails is a result too."""
    try:
        return measured(run, compiled, 3 if given.tiny else ROUNDS)._asdict()
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> dict[str, Any]:
    traceback.print_exception(error)
    rows = str(error).splitlines() or [""]
    return {"error": f"{type(error).__name__}: {rows[0][:200]}"}


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    is_cuda = arguments.device == "cuda"
    options = "".join(
        f" --{key} {value}" if not isinstance(value, bool) else f" --{key}"
        for key, value in vars(arguments).items()
        if value not in (None, False) and key not in ("json", "markdown")
    )
    return {
        "device": torch.cuda.get_device_name() if is_cuda else "CPU",
        "torch": torch.__version__,
        "triton": _triton(),
        "command": f"python -m benchmarks.models{options}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _triton() -> str:
    try:
        import triton
    except ImportError:
        return "not installed"
    return str(triton.__version__)


if __name__ == "__main__":
    main()
