"""`python -m benchmarks.kernels --json OUT`: the kernels beside their peers, on one CUDA GPU.

With `--compare STORED` the run is held against a stored one, and fails where ours has become slower.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.kernels import accuracy, by_hand, compare, report
from benchmarks.kernels.case import Call, Case
from benchmarks.kernels.cases import OPERATIONS, cases
from benchmarks.kernels.timing import ceilings, gpu_time, host_time
from cudalint.kernels import (
    ada_layer_norm,
    add_layer_norm,
    apply_rope,
    attention,
    cross_entropy,
    layer_norm,
    rms_norm,
    softmax,
    swiglu,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where the result goes")
    parser.add_argument("--markdown", type=Path, help="where the table goes, if anywhere")
    parser.add_argument(
        "--only", nargs="+", default=[], choices=OPERATIONS, help="time these, default: all"
    )
    parser.add_argument(
        "--compare", type=Path, help="a stored result: exit 1 if ours is over 5 %% slower anywhere"
    )
    arguments = parser.parse_args()
    stored = json.loads(arguments.compare.read_text()) if arguments.compare else None
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.kernels: no CUDA device here")
    result = measure(arguments.only)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(report.markdown(result))
    if stored is not None:
        _fail_where_slower(result, stored)


def _fail_where_slower(result: dict[str, Any], stored: dict[str, Any]) -> None:
    try:
        lines = compare.losses(result, stored)
    except ValueError as error:
        raise SystemExit(f"benchmarks.kernels: --compare: {error}") from None
    if lines:
        raise SystemExit("slower than stored:\n" + "\n".join(lines))


def measure(only: list[str]) -> dict[str, Any]:
    result = machine(only) | {"ceilings": ceilings(), "rows": []}
    print(result["device"], result["ceilings"], flush=True)
    for case in cases(only):
        result["rows"].append(row := timed(case))
        print(case.operation, case.shape, case.mode, _brief(row), flush=True)
    result["host"] = host_rows(only)
    result["accuracy"] = list(accuracy.rows(only))
    return result


def timed(case: Case) -> dict[str, Any]:
    return {
        "operation": case.operation,
        "shape": case.shape,
        "mode": case.mode,
        "work": case.work,
        "is_compute": case.is_compute,
        "seconds": {name: gpu_time(call, case.is_small) for name, call in case.calls.items()},
    }


def host_rows(only: list[str]) -> list[dict[str, Any]]:
    """A call on 1 KB, ours beside the nearest of torch's own."""
    rows = []
    for gradient in (False, True):
        for name, (torchs, ours) in _host_pairs(gradient).items():
            if only and name not in only:
                continue
            call = f"{name}, {'with' if gradient else 'without'} gradient"
            rows.append({"call": call, "torch": host_time(torchs), "ours": host_time(ours)})
    return rows


def _host_pairs(gradient: bool) -> dict[str, tuple[Call, Call]]:
    x, w = (torch.randn(256, device="cuda", requires_grad=gradient) for _ in range(2))
    q = torch.randn(1, 1, 4, 64, device="cuda", requires_grad=gradient)
    cos, sin = (torch.randn(4, 64, device="cuda") for _ in range(2))
    logits = torch.randn(4, 64, device="cuda", requires_grad=gradient)
    target = torch.zeros(4, device="cuda", dtype=torch.int64)
    return {
        "rms_norm": (lambda: F.rms_norm(x, (256,), w, 1e-6), lambda: rms_norm(x, w)),
        "layer_norm": (lambda: F.layer_norm(x, (256,), w), lambda: layer_norm(x, w)),
        "add_norm": (lambda: by_hand.add_layer_norm(x, x, w, w), lambda: add_layer_norm(x, x, w, w)),
        "adaptive_norm": (
            lambda: by_hand.ada_layer_norm(x, w, w), lambda: ada_layer_norm(x, scale=w, shift=w)
        ),
        "softmax": (lambda: torch.softmax(x, -1), lambda: softmax(x)),
        "attention": (
            lambda: F.scaled_dot_product_attention(q, q, q), lambda: attention(q, q, q)
        ),
        "glu": (lambda: by_hand.swiglu(x, w), lambda: swiglu(x, w)),
        "rope": (
            lambda: by_hand.apply_rope(q, q, cos, sin), lambda: apply_rope(q, q, cos, sin)
        ),
        "cross_entropy": (
            lambda: F.cross_entropy(logits, target), lambda: cross_entropy(logits, target)
        ),
    }  # fmt: skip


def machine(only: list[str]) -> dict[str, Any]:
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    options = f" --only {' '.join(only)}" if only else ""
    return {
        "device": torch.cuda.get_device_name(),
        "driver": driver.partition("\n")[0],  # a line for each GPU
        "torch": torch.__version__,
        "triton": _version("triton"),
        "liger": _version("liger-kernel"),
        "command": f"python -m benchmarks.kernels --json OUT{options}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _brief(row: dict[str, Any]) -> str:
    times = row["seconds"].items()
    return " ".join(f"{k}={v * 1e6:.1f}" if isinstance(v, float) else f"{k}=–" for k, v in times)


if __name__ == "__main__":
    main()
