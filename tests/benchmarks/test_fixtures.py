"""The fixtures' benchmark, on the CPU: sizes that fit, two sides, a ratio. About 25 s."""

from __future__ import annotations

import ast
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._pytree import tree_map

from benchmarks.fixtures import report, work
from benchmarks.fixtures.sides import call, chosen, enlarged, sides, sizes
from benchmarks.fixtures.work import measured
from tests.harness.cuda_is_cpu import cuda_is_cpu
from tests.harness.linting import fixed, found
from tests.harness.programs import Program, programs
from tests.harness.running import imported

FUSION = chosen("CUF")


def test_every_fusion_fixture_that_runs_is_measured() -> None:
    """Whatever a fix changes in Python says what a typical size of it is."""
    changed = [p for p in programs() if not p.is_cuda and p.after and p.codes[0].startswith("CUF")]
    assert {p.id for p in changed} == {p.id for p in FUSION}


@pytest.mark.parametrize("program", FUSION, ids=lambda program: program.id)
def test_typical_sizes_fit(program: Program) -> None:
    """Both sides run on tensors without data, of the typical sizes, and give the same shapes."""
    wanted = sizes(program)
    shapes = []
    for path in sides(program):
        assert set(wanted) <= _assigned(path), "a size that no statement of the module assigns"
        with _no_data(), imported(path) as module:
            enlarged(module, wanted)
            try:
                result = module.run(*module.inputs("cpu"))
            except DataDependentOutputException:  # a gradient scaler looks for infinities
                pytest.skip("ran up to where a value is read")
        shapes.append(tree_map(_shape, result))
    assert shapes[0] == shapes[1]


@contextlib.contextmanager
def _no_data() -> Iterator[None]:
    """Tensors are shapes and dtypes; modules are moved by new parameters, which torch swaps."""
    moves = {"to": _moved, "bfloat16": lambda module: _moved(module, torch.bfloat16)}
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with cuda_is_cpu(), mock.patch.multiple(nn.Module, **moves), fake:
        yield


def _moved(module: nn.Module, *where: Any) -> nn.Module:
    dtype = next((at for at in where if isinstance(at, torch.dtype)), None)
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and dtype is not None:
                part._parameters[name] = nn.Parameter(parameter.detach().to(dtype))
        for name, buffer in part._buffers.items():
            if buffer is not None and dtype is not None and buffer.is_floating_point():
                part._buffers[name] = buffer.to(dtype)
    return module


def _assigned(path: Path) -> set[str]:
    """Names that the top level of a module assigns."""
    statements = [s for s in ast.parse(path.read_text()).body if isinstance(s, ast.Assign)]
    names = [node for s in statements for target in s.targets for node in ast.walk(target)]
    return {node.id for node in names if isinstance(node, ast.Name)}


def _shape(value: object) -> object:
    return (value.shape, value.dtype) if isinstance(value, torch.Tensor) else None


def test_a_size_must_be_there() -> None:
    with imported(FUSION[0].path) as module, pytest.raises(ValueError, match="no number NOTHING"):
        enlarged(module, {"NOTHING": 3})


def test_a_fixture_is_measured_on_both_sides() -> None:
    (program,) = chosen("hand-written-rms-norm/torch")
    assert sizes(program).keys() >= {"BATCH", "WIDTH"}
    calls = [call(path, {"BATCH": 3}, "cpu") for path in sides(program)]
    assert calls[0]()[0].shape == (3, 5, 12)
    row = work.with_kernels(measured(program, "eager", "cpu", calls), "cpu", calls)
    assert row["ratio"] == row["after"]["wall"] / row["before"]["wall"]
    result = {"date": "", "command": "", "device": "CPU", "torch": "", "rows": [row]}
    assert "CUF004 | hand-written-rms-norm/torch | eager" in report.markdown(result)
    assert report.verdict(row) == "short"


def test_a_row_says_which_side_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = chosen("hand-written-rms-norm/torch")
    for failing, verdict in (("before", "failed before"), ("after", "failed")):

        def fails(path: Path, *_: Any, failing: str = failing) -> Any:
            if path.stem == failing:
                raise RuntimeError("no graph\n  Explanation: because")

        monkeypatch.setattr(work, "call", fails)
        row = measured(program, "compiled", "cpu", work._calls(program, "cpu", True, True))
        assert row["error"] == f"{failing}: RuntimeError: no graph Explanation: because"
        assert report.verdict(row) == verdict


def test_what_a_compiling_project_is_left_out_of() -> None:
    """`# assume-compiled: left as it is` is true: reported, and not rewritten."""
    marked = [program for program in FUSION if "assume-compiled" in program.options]
    assert [program.id for program in marked] == ["unfused-attention/torch"]
    for program in marked:
        text, config = program.before.text, program.options["config"]
        assert fixed(text, program.codes, config=config).source.text.decode() == program.after
        config += "; assume-compiled = true"
        assert found(text, program.codes, config=config)
        assert fixed(text, program.codes, config=config).source.text.decode() == text


@pytest.mark.parametrize(
    ("mode", "left_out", "verdict"),
    [("compiled", True, "left out"), ("eager", True, "slower"), ("compiled", False, "slower")],
)
def test_what_is_left_out_is_still_slower(mode: str, left_out: bool, verdict: str) -> None:
    row = {"mode": mode, "left_out": left_out, "ratio": 1.1, "before": {"gpu": 2.0}}
    assert report.verdict(row) == verdict
    assert report.verdict(row | {"ratio": 1.0}) == "met"


@pytest.mark.parametrize(("visible", "seen"), [(None, "1"), ("3,5", "5"), ("GPU-a,GPU-b", "GPU-b")])
def test_a_process_sees_its_gpu_alone(
    visible: str | None, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    assert work._alone("cuda:1") == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
    assert work._alone("cpu") == "cpu"
