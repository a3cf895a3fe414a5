"""The fixtures' benchmark, on the CPU: it finds programs, sizes and a ratio."""

from __future__ import annotations

from benchmarks import fixtures


def test_a_fixture_is_measured_on_both_sides() -> None:
    (program,) = [p for p in fixtures._chosen("CUF004") if p.id == "hand-written-rms-norm/torch"]
    (row,) = fixtures.measured(program, "cpu", ("eager",))
    assert "error" not in row and row["factor"] in fixtures.FACTORS
    assert row["ratio"] == row["after"]["wall"] / row["before"]["wall"]
    result = {"date": "", "command": "", "device": "CPU", "torch": "", "rows": [row]}
    assert "hand-written-rms-norm/torch | eager" in fixtures.markdown(result)
