"""Which files are checked: suffixes, excludes, links, files that are named, configurations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cudalint.config import Configuration
from cudalint.discover import discover


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*paths: str, isolated: bool = True, **flags: Any) -> list[str]:
    keys = {name.replace("_", "-"): value for name, value in flags.items()}
    files, errors = discover(paths or (".",), Configuration(isolated=isolated, flags=keys))
    assert not errors
    return [os.path.relpath(file.path) for file in files]


def test_suffixes() -> None:
    make("a.py", "b.pyi", "c.cu", "d.cuh", "e.cu.h", "f.cpp", "g.hpp", "h.txt", "py", "i.ipynb")
    assert found() == ["a.py", "b.pyi", "c.cu", "d.cuh", "e.cu.h", "f.cpp", "g.hpp"]


def test_further_suffixes() -> None:
    make("a.inl", "b.pyx")
    assert found(extension={"inl": "cuda"}) == ["a.inl"]


def test_excluded_by_default() -> None:
    make("venv/a.py", "dist/a.py", ".git/a.py", "src/node_modules/a.py", "src/a.py")
    assert found() == ["src/a.py"]


def test_exclude_replaces_and_extend_exclude_adds() -> None:
    make("venv/a.py", "gen/a.py", "src/a.py")
    assert found(exclude=["gen"]) == ["src/a.py", "venv/a.py"]
    assert found(extend_exclude=["gen"]) == ["src/a.py"]


def test_a_file_that_is_named_is_always_checked_unless_excludes_are_forced() -> None:
    make("venv/a.py", "notes.txt")
    assert found("venv/a.py", "notes.txt") == ["notes.txt", "venv/a.py"]
    assert found("venv/a.py", "notes.txt", force_exclude=True) == ["notes.txt"]
    assert found("venv") == ["venv/a.py"]
    assert found("venv", force_exclude=True) == []


def test_a_file_reached_twice_is_checked_once() -> None:
    make("src/a.py", "src/b.py")
    Path("link").symlink_to("src")
    Path("src/c.py").symlink_to("a.py")
    Path("other.py").symlink_to("src/b.py")
    assert found(".", "src", "src/a.py", "link/b.py", "link") == ["src/a.py", "src/b.py"]
    assert found("other.py") == ["other.py"]
    assert found("link") == ["link/a.py", "link/b.py"]


def test_folder_links_are_not_followed() -> None:
    make("src/a.py")
    Path("src/loop").symlink_to("..")
    Path("src/gone.py").symlink_to("nowhere.py")
    assert found() == ["src/a.py"]


def test_what_is_missing_is_named_and_the_rest_is_found() -> None:
    make("a.py")
    files, errors = discover(["a.py", "nope.py"], Configuration(isolated=True))
    assert [file.path for file in files] == [os.path.abspath("a.py")]
    assert errors == ("nope.py: no such file or folder",)


def test_explicit_files_are_marked() -> None:
    make("src/a.py", "b.txt")
    files, _ = discover(["src", "b.txt"], Configuration(isolated=True))
    assert [(os.path.basename(f.path), f.explicit) for f in files] == [
        ("b.txt", True),
        ("a.py", False),
    ]


def test_every_folder_has_the_nearest_configuration() -> None:
    make("a.py", "sub/b.py", "sub/deep/c.py", "sub/deep/gen/d.py")
    Path("cudalint.toml").write_text("dataloader-workers = 1\n")
    Path("sub/pyproject.toml").write_text("[tool.other]\n")
    Path("sub/deep/cudalint.toml").write_text("extend-exclude = ['gen/d.py']\n")
    files, _ = discover(["."], Configuration())
    workers = {os.path.relpath(f.path): f.settings.dataloader_workers for f in files}
    assert workers == {"a.py": 1, "sub/b.py": 1, "sub/deep/c.py": 4}


def test_a_folder_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    make("src/a.py", "locked/b.py")
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    files, errors = discover(["."], Configuration(isolated=True))
    assert len(files) == 1 and "Permission denied" in errors[0]
