"""Runs the interpreter's tests, in processes of their own: Triton reads the switch at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="no Triton here")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize(
    "module",
    [
        "interpreted.py",
        "interpreted_glu.py",
        "interpreted_norms.py",
        "interpreted_rope.py",
        "interpreted_attention.py",
        "interpreted_cross_entropy.py",
        "interpreted_decode.py",
        "interpreted_quantized.py",
        "interpreted_large_strides.py",
    ],
)
def test_kernels_in_the_interpreter(module: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", HERE / module]
    run = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
