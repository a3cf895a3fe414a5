"""sdist → wheel → import: nothing is lost on the way, and the linter needs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A `PYTHONPATH` that names the tree would be imported in place of what was installed.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with an sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _tracked() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "cudalint"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.split("\0") if name.endswith((".py", ".cuh", ".typed"))}


def test_wheel_holds_the_package_whole(built: Path) -> None:
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    assert _tracked() <= names
    assert not {
        name for name in names if name.split("/")[0] in ("checks", "fixes", "kernels", "tests")
    }


def test_sdist_holds_the_package_whole(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert _tracked() <= names


def test_wheel_runs_without_torch(built: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    wheel = next(built.glob("*.whl"))
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", str(wheel)]
    subprocess.run(install, env=ENVIRONMENT, check=True)
    (tmp_path / "a.py").write_text("import torch\ns = torch.cuda.amp.GradScaler()\n")
    command = [str(tmp_path / "venv" / "bin" / "cudalint"), "check", "--isolated", "a.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "CUP003" in done.stdout, done.stdout + done.stderr
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=freeze"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.lower()
    assert not any(line.startswith(("torch", "triton", "numpy")) for line in listed.splitlines())
