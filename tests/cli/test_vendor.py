"""`vendor`: copies that run with torch alone, beside cudalint's own operators, and what is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cudalint.commands.vendor import namespace, operations
from tests.cli.conftest import Lint

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "fixtures/hand-written-rms-norm/before.py"
# What a program sees where cudalint is not installed.
ALONE = "import sys; sys.modules['cudalint'] = None; "


def python(folder: Path, code: str, own: bool = False) -> str:
    """Run code in a folder of its own, with cudalint to import only where `own` says so."""
    paths = [str(folder), *([str(ROOT)] if own else [])]
    ran = subprocess.run(
        [sys.executable, "-c", ("" if own else ALONE) + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_fixed_program_runs_without_cudalint(lint: Lint, folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.cudalint]\nkernel-source = "vendored"\n')
    text = "".join(FIXTURE.read_text().partition('"""')[1:])
    (folder / "a.py").write_text(text)
    shutil.copy(folder / "a.py", folder / "before.py")
    only = ("--no-cache", "--select=CUF004", "a.py")
    lint("fix", "--unsafe-fixes", *only, select=False)
    assert "from cudalint_kernels import rms_norm" in (folder / "a.py").read_text()

    assert lint("vendor", "rms_norm", select=False).exit_code == 0
    code = "import a, before, torch; r, s = (m.run(*m.inputs('cpu')) for m in (a, before)); "
    close = "[torch.testing.assert_close(x, y) for x, y in zip(r[0], s[0])]; print('ran')"
    assert python(folder, code + close) == "ran\n"


def test_every_operation_can_be_copied_with_its_tests(lint: Lint, folder: Path) -> None:
    assert lint("vendor", *operations(), "--to", "ours/kernels", select=False).exit_code == 0
    for path in (folder / "ours").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(?:from|import) cudalint", text, re.MULTILINE)
        assert not re.search(r"NAME\w* = \"cudalint\"|ops\.cudalint\b", text)
    tests = sorted((folder / "ours/kernels/tests").glob("test_*.py"))
    assert len(tests) >= 12
    (folder / "ours/__init__.py").write_text("")
    arguments = "['-q', '-p', 'no:cacheprovider', 'ours/kernels/tests']"
    assert "passed" in python(folder, f"import pytest; sys.exit(pytest.main({arguments}))")


def test_a_copy_and_cudalint_live_in_one_process(lint: Lint, folder: Path) -> None:
    lint("vendor", "softmax", select=False)
    code = (
        "import torch, cudalint.kernels, cudalint_kernels\n"
        "print(torch.ops.cudalint.softmax is not torch.ops.cudalint_kernels.softmax)\n"
        "x = torch.randn(3, 5)\n"
        "print(torch.equal(cudalint.kernels.softmax(x), cudalint_kernels.softmax(x)))\n"
    )
    assert python(folder, code, own=True) == "True\nTrue\n"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("cudalint_kernels", "cudalint_kernels"),
        ("src/project/kernels", "cudalint_src_project_kernels"),
        ("cudalint", "cudalint_cudalint"),
    ],
)
def test_namespaces_never_are_our_own(path: str, name: str) -> None:
    assert namespace(path) == name


def test_a_second_operation_joins_the_first(lint: Lint, folder: Path) -> None:
    lint("vendor", "softmax", select=False)
    result = lint("vendor", "rms_norm", select=False)
    assert result.exit_code == 0, result.output
    listed = (folder / "cudalint_kernels/__init__.py").read_text()
    assert "rms_norm" in listed and "log_softmax" in listed
    again = lint("vendor", "rms_norm", select=False)
    assert again.exit_code == 0 and ": 0 files" in again.output


def test_the_folder_is_the_configured_one(lint: Lint, folder: Path) -> None:
    settings = 'kernel-source = "vendored"\nvendored-path = "src/project/kernels"\n'
    (folder / "cudalint.toml").write_text(settings)
    (folder / "a.py").write_text("".join(FIXTURE.read_text().partition('"""')[1:]))
    lint("vendor", "rms_norm", select=False)
    assert (folder / "src/project/kernels/_rms_norm/function.py").is_file()
    lint("fix", "--unsafe-fixes", "--no-cache", "--select=CUF004", "a.py", select=False)
    assert "from project.kernels import rms_norm\n" in (folder / "a.py").read_text()


def test_unknown_operations_name_the_nearest(lint: Lint) -> None:
    result = lint("vendor", "softmx", select=False)
    assert result.exit_code == 2
    assert result.stderr == "error: unknown operation `softmx`; did you mean `softmax`?\n"
    listed = lint("vendor", "zzz", select=False).stderr
    assert "; there are " in listed and all(name in listed for name in operations())
    assert lint("vendor", select=False).exit_code == 2


def test_changed_files_are_kept(lint: Lint, folder: Path) -> None:
    lint("vendor", "softmax", select=False)
    changed = folder / "cudalint_kernels/_rows.py"
    changed.write_text("mine = 1\n")
    result = lint("vendor", "softmax", select=False)
    assert result.exit_code == 2 and "cudalint_kernels/_rows.py" in result.stderr
    assert "function.py" not in result.stderr and changed.read_text() == "mine = 1\n"
    assert lint("vendor", "softmax", "--force", select=False).exit_code == 0
    assert "mine" not in changed.read_text()


def test_a_package_of_the_project_is_kept(lint: Lint, folder: Path) -> None:
    (folder / "cudalint_kernels").mkdir()
    (folder / "cudalint_kernels/__init__.py").write_text("mine = 1\n")
    result = lint("vendor", "softmax", select=False)
    assert result.exit_code == 2 and "cudalint_kernels/__init__.py" in result.stderr
    assert list((folder / "cudalint_kernels").iterdir()) == [
        folder / "cudalint_kernels/__init__.py"
    ]
