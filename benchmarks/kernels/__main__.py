"""`python -m benchmarks.kernels --json OUT`: the kernels beside their peers, on one CUDA GPU."""

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

from benchmarks.kernels import accuracy, report
from benchmarks.kernels.cases import Case, cases
from benchmarks.kernels.timing import ceilings, gpu_time, host_time
from cudalint.kernels import attention, rms_norm, softmax


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where the result goes")
    parser.add_argument("--markdown", type=Path, help="where the table goes, if anywhere")
    parser.add_argument("--only", default="", help="rms_norm, softmax or attention")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.kernels: no CUDA device here")
    result = measure(arguments.only)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(report.markdown(result))


def measure(only: str) -> dict[str, Any]:
    result = machine(only) | {"ceilings": ceilings(), "rows": []}
    print(result["device"], result["ceilings"], flush=True)
    for case in cases(only):
        result["rows"].append(row := timed(case))
        print(case.operation, case.shape, case.mode, _brief(row), flush=True)
    result["host"] = host_rows()
    result["accuracy"] = list(accuracy.rows())
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


def host_rows() -> list[dict[str, Any]]:
    """A call on 1 KB, ours beside the nearest of torch's own."""
    rows = []
    for gradient in (False, True):
        x, w = (torch.randn(256, device="cuda", requires_grad=gradient) for _ in range(2))
        q = torch.randn(1, 1, 4, 64, device="cuda", requires_grad=gradient)
        pairs = {
            "rms_norm": (lambda x=x, w=w: F.rms_norm(x, (256,), w, 1e-6),
                         lambda x=x, w=w: rms_norm(x, w)),
            "softmax": (lambda x=x: torch.softmax(x, -1), lambda x=x: softmax(x)),
            "attention": (lambda q=q: F.scaled_dot_product_attention(q, q, q),
                          lambda q=q: attention(q, q, q)),
        }  # fmt: skip
        for name, (torchs, ours) in pairs.items():
            call = f"{name}, {'with' if gradient else 'without'} gradient"
            rows.append({"call": call, "torch": host_time(torchs), "ours": host_time(ours)})
    return rows


def machine(only: str) -> dict[str, Any]:
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "device": torch.cuda.get_device_name(),
        "driver": driver,
        "torch": torch.__version__,
        "triton": _version("triton"),
        "liger": _version("liger-kernel"),
        "command": f"python -m benchmarks.kernels --json OUT{only and f' --only {only}'}",
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
