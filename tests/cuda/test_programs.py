"""The CUDA fixtures compile without a warning on both sides, and compute the same on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from tests.cuda.nvcc import compiled, output
from tests.harness.programs import Program, programs

PROGRAMS = [one for one in programs() if one.is_cuda and "build" not in one.options]
every = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.id)


def _sides(program: Program) -> dict[str, str]:
    sides = {"before": program.before.text}
    return sides if program.after is None else {**sides, "after": program.after}


@pytest.mark.nvcc
@every
def test_both_sides_compile_without_a_warning(program: Program, tmp_path: Path) -> None:
    for name, text in _sides(program).items():
        compiled(text, tmp_path, name)


@pytest.mark.gpu
@pytest.mark.nvcc
@every
def test_results_stay_on_the_gpu(program: Program, tmp_path: Path) -> None:
    if program.after is None or program.options.get("run", "").startswith("never"):
        pytest.skip("nothing to compare")
    before, after = (
        output(compiled(text, tmp_path, name, "-arch=native"))
        for name, text in _sides(program).items()
    )
    assert before, "the program writes nothing"
    if "tolerance" not in program.options:
        assert after == before
        return
    rtol, atol = map(float, program.options["tolerance"].split()[:2])
    one, other = (numpy.frombuffer(side, dtype=numpy.float32) for side in (before, after))
    numpy.testing.assert_allclose(other, one, rtol=rtol, atol=atol)
