"""Every fixture: findings match the marks, the fix is `after`, and both compute the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from cudalint import sieve
from cudalint.registry import RULES, by_code
from tests.harness.linting import fixed, found, settings_for
from tests.harness.programs import FIXTURES, Program, programs
from tests.harness.running import assert_same, holds_something, run

PROGRAMS = programs()
PYTHON = [program for program in PROGRAMS if not program.is_cuda and program.after is not None]
every = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.id)
# What programs that are wrong on purpose, or meant for a GPU, are told by torch on the CPU.
TOLD = (
    "ignore:CUDA is not available:UserWarning",
    "ignore:torch.cuda.amp.GradScaler is enabled, but CUDA is not:UserWarning",
    "ignore:'pin_memory' argument is set as true but no accelerator:UserWarning",
    "ignore:Converting a tensor with requires_grad=True to a scalar:UserWarning",
    r"ignore:`torch\.\w+\.amp\.\w+\(args\.\.\.\)` is deprecated:FutureWarning",
    r"ignore:`torch\.backends\.cuda\.sdp_kernel\(\)` is deprecated:FutureWarning",
)


def _language(program: Program) -> str:
    return "cuda" if program.is_cuda else "python"


def _config(program: Program) -> str:
    return program.options.get("config", "")


def test_every_rule_with_a_module_has_fixtures() -> None:
    for rule in RULES:
        if rule.family == "own":
            continue
        folder = FIXTURES / rule.name
        assert list(folder.rglob("before.*")), f"{rule.code} has no before/after"
        assert (folder / "cases.md").exists(), f"{rule.code} has no cases.md"


@every
def test_findings_match_the_marks(program: Program) -> None:
    assert program.before.expected, "a fixture expects at least one finding"
    rows = found(program.before.text, program.codes, _language(program), _config(program))
    assert rows == program.before.expected


@every
def test_firing_fixtures_pass_the_sieve(program: Program) -> None:
    for code in {code for _, code in program.before.expected}:
        assert sieve.survivors(program.before.text.encode(), [by_code()[code]])


@every
def test_fix_equals_after(program: Program) -> None:
    if program.after is None:
        assert all(by_code()[code].fix is None for code in program.codes), "after is missing"
        return
    done = fixed(program.before.text, program.codes, _language(program), _config(program))
    assert done.source.text.decode() == program.after


@every
def test_after_is_clean_and_stays(program: Program) -> None:
    if program.after is None:
        return
    assert found(program.after, program.codes, _language(program), _config(program)) == []
    again = fixed(program.after, program.codes, _language(program), _config(program))
    assert again.source.text.decode() == program.after


@pytest.mark.filterwarnings(*TOLD)
@pytest.mark.parametrize("program", PYTHON, ids=lambda program: program.id)
def test_results_stay_on_the_cpu(program: Program, tmp_path: Path) -> None:
    where, _, reason = program.options.get("run", "").partition(" ")
    if where:
        pytest.skip(f"runs on {where}: {reason}")
    _compare(program, tmp_path, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("program", PYTHON, ids=lambda program: program.id)
def test_results_stay_on_the_gpu(program: Program, tmp_path: Path) -> None:
    import torch

    where, _, reason = program.options.get("run", "").partition(" ")
    if where == "never":
        pytest.skip(f"never run: {reason}")
    devices = torch.cuda.device_count()
    if devices < (2 if where == "gpu2" else 1):
        pytest.skip(f"needs {where or 'a GPU'}; {devices} CUDA devices here")
    _compare(program, tmp_path, "cuda")


def _compare(program: Program, folder: Path, device: str) -> None:
    before, after = folder / "before.py", folder / "after.py"
    before.write_text(program.before.text, encoding="utf-8")
    after.write_text(program.after or "", encoding="utf-8")
    one, other = run(before, device), run(after, device)
    assert holds_something(one), "run() returns nothing that could differ"
    given = program.options.get("tolerance")
    tolerance = None
    if given is not None:
        rtol, atol = map(float, given.split()[:2])
        tolerance = (rtol, atol)
    assert_same(one, other, tolerance)


def test_selecting_is_exact() -> None:
    """The harness runs a fixture with its own rules alone."""
    assert [rule.code for rule in settings_for(("CUS001",)).rules] == ["CUS001"]
