"""The hooks under the real pre-commit, against a repository made on the spot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BAD = "from torch.cuda.amp import GradScaler\n\nscaler = GradScaler()\n"
GOOD = 'import torch\n\nscaler = torch.amp.GradScaler("cuda")\n'


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our repository as pre-commit clones it: what git would track, committed."""
    folder = tmp_path_factory.mktemp("hooks")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if name.startswith(("cudalint/", "pyproject.toml", "README.md", ".pre-commit-hooks.yaml")):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy2(ROOT / name, target)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "hooks")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One pre-commit home for all tests: the environment is installed once."""
    return tmp_path_factory.mktemp("home")


def project(folder: Path, hooks: Path, hook: str, extra: str = "") -> None:
    git(folder, "init", "-q", "-b", "main")
    (folder / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {hooks}\n  rev: {git(hooks, 'rev-parse', 'HEAD').strip()}\n"
        f"  hooks:\n  - id: {hook}\n{extra}"
    )
    (folder / "pyproject.toml").write_text('[tool.cudalint]\nextend-exclude = ["old"]\n')


def run(folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    git(folder, "add", "-A")
    environment = {**os.environ, "PRE_COMMIT_HOME": str(home)}
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color=never"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_check_reports_and_fails(tmp_path: Path, hooks: Path, home: Path) -> None:
    project(tmp_path, hooks, "cudalint")
    (tmp_path / "a.py").write_text(BAD)
    done = run(tmp_path, home)
    assert done.returncode == 1 and "CUP003" in done.stdout, done.stdout + done.stderr
    (tmp_path / "a.py").write_text(GOOD)
    assert run(tmp_path, home).returncode == 0


def test_excluded_files_stay_excluded(tmp_path: Path, hooks: Path, home: Path) -> None:
    project(tmp_path, hooks, "cudalint")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.py").write_text(BAD)
    done = run(tmp_path, home)
    assert done.returncode == 0, done.stdout + done.stderr


def test_fix_fails_by_changing_files(tmp_path: Path, hooks: Path, home: Path) -> None:
    project(tmp_path, hooks, "cudalint-fix")
    (tmp_path / "a.py").write_text(BAD)
    done = run(tmp_path, home)
    assert done.returncode == 1 and "files were modified" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "a.py").read_text() == GOOD
    assert run(tmp_path, home).returncode == 0


def test_fix_does_not_fail_on_advice(tmp_path: Path, hooks: Path, home: Path) -> None:
    project(tmp_path, hooks, "cudalint-fix")
    advice = "import torch\nfrom torch.cuda.amp import GradScaler  # cudalint: ignore[CUZ000]\n"
    (tmp_path / "a.py").write_text(advice)
    done = run(tmp_path, home)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_matching_file_is_fine(tmp_path: Path, hooks: Path, home: Path) -> None:
    project(tmp_path, hooks, "cudalint")
    (tmp_path / "a.md").write_text("torch.cuda.amp.GradScaler()\n")
    done = run(tmp_path, home)
    assert done.returncode == 0 and "no files to check" in done.stdout, done.stdout
