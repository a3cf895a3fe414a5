"""`python -m benchmarks.kernels --compare`: a run held against a stored one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="no Triton here")

import torch

from benchmarks.kernels import __main__ as program
from benchmarks.kernels import compare


def run(device: str = "NVIDIA H200", **ours: float | str) -> dict[str, Any]:
    rows = [
        {"operation": name, "shape": "8×8", "mode": "forward", "seconds": {"torch": 1.0, "ours": t}}
        for name, t in ours.items()
    ]
    return {"device": device, "rows": rows}


def test_only_what_is_over_5_percent_slower_in_both_runs_is_a_loss() -> None:
    stored = run(softmax=1e-4, rms_norm=1e-4, rope=1e-4, old=1e-4, glu="RuntimeError: none")
    new = run(softmax=1.06e-4, rms_norm=1.04e-4, rope=0.5e-4, new=1.0, glu=1e-4)
    assert compare.losses(new, stored) == [
        "softmax 8×8 forward: 106.0 µs, 1.06× the 100.0 µs stored"
    ]


def test_what_no_longer_runs_is_a_loss() -> None:
    (line,) = compare.losses(run(softmax="RuntimeError: no"), run(softmax=1e-4))
    assert line == "softmax 8×8 forward: RuntimeError: no; stored 100.0 µs"


def test_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="the stored run is of a NVIDIA A100, this one of a"):
        compare.losses(run(softmax=1.0), run("NVIDIA A100", softmax=1.0))


@pytest.mark.parametrize(
    ("now", "message"),
    [(1.0e-4, None), (1.2e-4, "slower than stored:\nsoftmax 8×8 forward: 120.0 µs, 1.20×")],
)
def test_the_program_fails_on_a_loss(
    now: float, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stored.json").write_text(json.dumps(run(softmax=1e-4)))
    files = {name: str(tmp_path / f"{name}.json") for name in ("new", "stored")}
    command = ["benchmarks.kernels", "--json", files["new"], "--compare", files["stored"]]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(program, "measure", lambda *_: run(softmax=now))
    if message is None:
        program.main()
    else:
        with pytest.raises(SystemExit) as failure:
            program.main()
        assert str(failure.value).startswith(message)
    assert json.loads((tmp_path / "new.json").read_text()) == run(softmax=now)
