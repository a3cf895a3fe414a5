"""The hand-written models: the tool fixes them, and they train as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.models import report
from benchmarks.models.program import NAMES, TINY, fixed, measured, running

STEPS = 4


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize("name", NAMES)
def test_the_fixed_script_trains_as_before(name: str, tmp_path: Path) -> None:
    rows = []
    for column in ("before", "bf16"):  # autocast for CUDA does nothing on the CPU
        done = fixed(name, column, tmp_path)
        text = done.path.read_text()
        assert ('torch.amp.autocast("cuda", dtype=torch.bfloat16)' in text) == (column == "bf16")
        assert ('torch.set_float32_matmul_precision("high")' in text) == (column == "bf16")
        options = ["--steps", str(STEPS), "--device", "cpu", *TINY[name].split()]
        with running(done.path, options) as run:
            assert len(run.losses) == STEPS
            times = measured(run, compiled=False, rounds=1)._asdict()
            rows.append({"model": name, "column": column, "losses": run.losses, "eager": times})
            rows[-1] |= {"arguments": vars(run.arguments), "compiled": None, "remaining": []}
    assert report.difference(rows[0]["losses"], rows[1]["losses"]) < 1e-3
    rows.append(rows[1] | {"column": "tf32"})
    result = {"date": "", "command": "", "device": "CPU", "torch": "", "triton": "", "rows": rows}
    assert f"## {name}" in report.markdown(result)
