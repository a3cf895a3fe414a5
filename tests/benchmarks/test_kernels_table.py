"""`python -m benchmarks.kernels`: results put together, what is a bar met, the table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="no Triton here")

import torch

from benchmarks.kernels import accuracy, bars, report, run, timing
from benchmarks.kernels.case import Case
from benchmarks.kernels.comparisons import comparisons
from benchmarks.kernels.merge import merged
from benchmarks.kernels.run import FAMILIES, shard

CEILINGS = {"copy TB/s": 4.0, "matmul TFLOP/s": 700.0}


def row(operation: str = "softmax", family: str = "softmax", **others: Any) -> dict[str, Any]:
    """1 GB at 3.8 TB/s."""
    seconds = {"by hand": 9e-4, "torch": 3e-4, "ours": 1e9 / 3.8e12}
    return {
        "family": family, "operation": operation, "shape": "8×8", "mode": "forward",
        "work": int(1e9), "is_compute": False, "bar": None, "seconds": seconds, "run": 0,
    } | others  # fmt: skip


def result(*rows: dict[str, Any], **others: Any) -> dict[str, Any]:
    run = {"command": "python -m …", "date": "2026-11-21", "ceilings": CEILINGS, "seconds": {}}
    host = {"family": "softmax", "call": "softmax, with gradient", "torch": 1e-6, "ours": 3e-6}
    error = {"family": "softmax", "operation": "softmax 8×8", "dtype": "float16", "ours": 2e-4}
    error |= {"fair": 1e-4, "by hand": float("nan"), "of allowed": 0.5, "run": 0}
    return {
        "device": "NVIDIA H200", "driver": "1", "torch": "2", "triton": "3", "liger": "0",
        "date": "2026-11-21", "runs": [run], "rows": list(rows), "host": [host | {"run": 0}],
        "accuracy": [error | {"of": "output"}, error | {"of": "d1", "of allowed": 1.2}],
        "failed": [],
    } | others  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "met"),
        ({"seconds": {"torch": 2.5e-4, "ours": 1e9 / 3.8e12}}, "95% of the best"),
        ({"seconds": {"torch": 9e-4, "ours": 4e-4}}, "62% of copy, 90% wanted"),
        ({"seconds": {"ours": 4e-4, "ours, other": 1e-4}}, "no peer"),
        ({"family": "quantized_linear", "seconds": {"bf16": 1e-4, "ours": 4e-4}}, "no bar"),
        ({"seconds": {"torch": 9e-4, "ours": "RuntimeError: no"}}, "does not run"),
        ({"work": 1e6, "seconds": {"torch": 1e-6, "ours": 1.9e-6}}, "met"),
        ({"work": 1e6, "seconds": {"torch": 20e-6, "ours": 23e-6}}, "1.15× the best"),
        ({"bar": {"peer": "torch", "times": 1.5, "share": None}}, "1.14× torch, 1.5× wanted"),
        ({"bar": {"peer": "torch", "times": 1.0, "share": 0.85}}, "met"),
        ({"bar": {"peer": None, "times": 1.0, "share": 1.0}}, "95% of copy, 100% wanted"),
        (
            {
                "shape": "32768×4096",
                "seconds": {"torch": 9e-4, "ours": 1e9 / 3.8e12},
            },
            "95% of quack as stored",
        ),
    ],
)
def test_a_bar(changes: dict[str, Any], verdict: str) -> None:
    assert bars.verdict(row(**changes), CEILINGS) == verdict


def test_results_become_one_in_the_order_of_the_families() -> None:
    late, early = row("rope", "rope"), row("rms_norm", "rms_norm")
    again = late | {"seconds": {"ours": 1.0}}
    whole = merged([result(late), result(early, again)], FAMILIES)
    assert [(r["operation"], r["run"]) for r in whole["rows"]] == [("rms_norm", 1), ("rope", 1)]
    assert whole["rows"][1]["seconds"] == {"ours": 1.0}
    assert len(whole["runs"]) == 2
    assert len(whole["host"]) == 1


def test_a_failure_of_what_has_run_again_since_is_gone() -> None:
    failed = [{"family": f, "error": "rows: RuntimeError: no", "run": 0} for f in ("rope", "glu")]
    later = result(row("rope", "rope"))
    later["runs"][0]["seconds"] = {"rope": 20.0}
    whole = merged([result(failed=failed), later], FAMILIES)
    assert [failure["family"] for failure in whole["failed"]] == ["glu"]


def test_results_of_two_machines_are_refused() -> None:
    with pytest.raises(ValueError, match="torch is 3 in one run and 2 in another"):
        merged([result(), result(torch="3")], FAMILIES)


def test_the_shares_of_two_gpus_are_all_families() -> None:
    shares = [shard(FAMILIES, i, 2) for i in (1, 2)]
    assert sorted(shares[0] + shares[1]) == sorted(FAMILIES)
    assert all(shares)


def test_the_program_merges_without_a_gpu(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.json", "b.json", "out.json", "out.md")]
    files[0].write_text(json.dumps(result(row())))
    files[1].write_text(json.dumps(result(row("rope", "rope"))))
    a, b, out, table = map(str, files)
    command = ["--merge", a, b, "--json", out, "--markdown", table]
    subprocess.run([sys.executable, "-m", "benchmarks.kernels", *command], check=True)
    assert [r["operation"] for r in json.loads(files[2].read_text())["rows"]] == ["softmax", "rope"]
    assert "| 8×8 | forward | 900.0 µs | 300.0 µs | **263.2 µs** | 3.80 | 95% | met |" in (
        files[3].read_text()
    )


def test_the_table_names_what_is_missed() -> None:
    failed = [{"family": "glu", "error": "RuntimeError: no", "run": 0}]
    table = report.markdown(result(row(seconds={"torch": 1e-4, "ours": 1e-3}), failed=failed))
    assert "0 of 1 are met. Missed:" in table
    assert "- softmax 8×8 forward: 10% of the best, 25% of copy, 90% wanted" in table
    assert "- host time of softmax, with gradient: 3.0×, 2.5× wanted" in table
    assert "**glu did not run: RuntimeError: no**" in table
    errors = "2.0e-04 (1.0e-04, not finite)"
    assert f"| softmax 8×8 | float16 | {errors} | {errors} | **1.20** |" in table


def test_the_hosts_time_stands_beside() -> None:
    host = {"by hand": 9e-5, "torch": 2e-5, "ours": 8e-5}
    called = {"by hand": 9e-4, "torch": 3e-4, "ours": 4e-4}
    graph = row(timed="graph", host=host, calls=called, not_captured=["torch"])
    table = report.markdown(result(graph, row(shape="4×4", timed="calls", host=host, calls={})))
    assert "| 8×8 | forward | 900.0 µs | 300.0 µs † | **263.2 µs** |" in table
    assert "| met | graph | 80.0 (20.0) µs | 400.0 (300.0) µs |" in table
    assert "| met | calls | 80.0 (20.0) µs | – |" in table


@pytest.mark.parametrize(
    ("torchs_host", "timed", "ours"),
    [(0.5, "calls", 1.0), (0.8, "graph", 0.25), (None, "calls", 1.0)],
)
def test_a_row_that_the_host_of_anybody_decides_is_replayed(
    torchs_host: float | None, timed: str, ours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call takes 1 s of which the host is busy for 0.1, a replay 0.25; Liger waits for the GPU."""
    calls: dict[str, Any] = {name: lambda name=name: name for name in ("torch", "Liger", "ours")}

    def replayed(call: Any, alone: bool) -> float:
        assert alone
        if call() == "Liger":
            raise RuntimeError("called a synchronizing CUDA operation")
        return 0.25

    hosts = {"torch": torchs_host, "Liger": None, "ours": 0.1}
    monkeypatch.setattr(timing, "_host", lambda call: hosts[call()])
    monkeypatch.setattr(timing, "_called", lambda call: 1.0)
    monkeypatch.setattr(timing, "_replayed", replayed)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    found = timing.row_times(calls, replayed=False)
    assert (found.timed, found.seconds["ours"], found.seconds["Liger"]) == (timed, ours, 1.0)
    assert found.not_captured == (["Liger"] if timed == "graph" else [])
    assert found.host == {n: t for n, t in hosts.items() if t is not None}


def test_rows_of_some_shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [Case("softmax", shape, "forward", 1, {}) for shape in ("ALiBi, 8×8", "8×8")]
    monkeypatch.setitem(run.OPERATIONS, "softmax", lambda: iter(cases))
    monkeypatch.setattr(run, "timed", lambda family, case: row(shape=case.shape))
    assert [found["shape"] for found in run._timed_rows("softmax", "ALiBi")] == ["ALiBi, 8×8"]
    assert len(list(run._timed_rows("softmax"))) == 2


def test_what_computes_is_warmed_up_before_it_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cool, a call takes 0.9 s, and 1 s from then on."""
    warm: set[str] = set()
    monkeypatch.setattr(timing, "do_bench", lambda call, **_: warm.add(call()))
    monkeypatch.setattr(timing, "_called", lambda call: 1.0 if call() in warm else 0.9)
    monkeypatch.setattr(timing, "_host", lambda call: 0.1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    calls: dict[str, Any] = {name: lambda name=name: name for name in ("torch", "ours")}
    for is_compute, seconds in ((False, 0.9), (True, 1.0)):
        found = timing.row_times(calls, replayed=False, is_compute=is_compute)
        assert found.seconds == {"torch": seconds, "ours": seconds}


def test_the_published_figure() -> None:
    rows = [row("rms_norm", "rms_norm", shape=shape) for shape in report.PUBLISHED]
    table = report.markdown(result(*rows))
    assert "by hand in bfloat16: 3.42×, 95%." in table
    assert "## The published" not in report.markdown(result(*rows[1:]))


@pytest.mark.parametrize("family", ["adaptive_norm", "rope", "decode"])
def test_errors_are_those_that_the_law_allows(family: str) -> None:
    """On the CPU ours is the reference: what is tried is the table."""
    torch.manual_seed(2026)
    found = comparisons(family, "cpu")
    rows = [r for name in found for r in accuracy.rows(family, {name: found[name]}, "cpu")]
    assert {r["operation"] for r in rows} == set(found)
    assert all(r["of allowed"] <= 1 for r in rows if r["dtype"] != "float32" or family == "rope")
    assert {r["of"] for r in rows} >= ({"output"} if family == "decode" else {"output", "d1"})
