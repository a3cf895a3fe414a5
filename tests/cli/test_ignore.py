"""Ignore files judged as git judges them: random trees, and the answer of git itself."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from cudalint.config import Configuration
from cudalint.discover import discover

NAMES = ["a", "b", "ab", "abc", "x y", "build", "foo.bar", "[z]", "!n", "#h"]
SUFFIXES = ["py", "cu", "h", "pyi"]
PATTERNS = """
a|b|*.py|build/|/a|a/|a/b|*/b|**/b|a/**|a/**/b|!a|!*.cu|!/a/b|?|a?|[ab]|[!a]|[a-b]*|*b|b*.py|foo.*
/**/ab|**|a/*|!a/b.py|*.p?|x y|x y |x\\ |\\!n|\\#h|#h|[z]|\\[z]|a**b|**a|a*/**/b|*.py[i]|b.py|/b.py
a/b.py|!b.py|ab/**/b.py|*|!*/|/*|!/a|!/a/|[[:alpha:]]|*.[ch]|[]]|[z-a]|a\\|a/**/|/|!|  |*/*.cu
**/a/**|!**/b|a//b|[a|[[:punct:]]*|[[:blank:]x]?y|[[z]*|/***/b.py|[a.b]|b.[py]y|a[!x]*|foo\\.bar|a\\\\
""".strip().replace("\n", "|")


def tree(root: Path, chance: random.Random) -> None:
    """A repository with a few folders, files and ignore files."""
    subprocess.run(["git", "init", "-q", root], check=True)
    folders = [root]
    for _ in range(chance.randint(2, 9)):
        folder = chance.choice(folders) / chance.choice(NAMES)
        folder.mkdir(exist_ok=True)
        folders.append(folder)
    for folder in folders:
        for _ in range(chance.randint(1, 5)):
            (folder / f"{chance.choice(NAMES)}.{chance.choice(SUFFIXES)}").touch()
    for folder in chance.sample(folders, min(len(folders), chance.randint(1, 3))):
        lines = chance.choices(PATTERNS.split("|"), k=chance.randint(1, 5))
        (folder / ".gitignore").write_text("\n".join(lines) + chance.choice(["", "\n"]))


def by_git(root: Path) -> list[str]:
    command = ["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(f"{root}/{name}" for name in listed if name and not name.endswith(".gitignore"))


def by_us(root: Path) -> list[str]:
    everything = Configuration(isolated=True, flags={"exclude": [".git"]})
    return [found.path for found in discover([str(root)], everything)[0]]


@pytest.mark.parametrize("seed", range(40))
def test_random_trees(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    root = tmp_path / "repository"
    tree(root, random.Random(seed))
    assert by_us(root) == by_git(root)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    root = tmp_path / "repository"
    for name in ("a.py", "gen/b.py", "src/gen/c.py", "src/d.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / ".gitignore").write_text("gen/\n")
    return root


def test_files_above_the_folder_that_is_checked_count(repository: Path) -> None:
    assert by_us(repository / "src") == [f"{repository}/src/d.py"]


def test_a_folder_that_is_named_is_checked_though_it_is_ignored(repository: Path) -> None:
    assert by_us(repository / "gen") == [f"{repository}/gen/b.py"]


def test_the_repository_and_the_user_have_ignore_files_too(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / ".git/info").mkdir(exist_ok=True)
    (repository / ".git/info/exclude").write_text("a.py\n")
    home = repository.parent / "home"
    (home / "git").mkdir(parents=True)
    (home / "git/ignore").write_text("d.py\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    assert by_us(repository) == []


def test_ignore_files_can_be_ignored(repository: Path) -> None:
    free = Configuration(isolated=True, flags={"respect-gitignore": False})
    assert len(discover([str(repository)], free)[0]) == 4


def test_without_a_repository_they_count_from_here_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").touch()
    (tmp_path / ".gitignore").write_text("a.py\n")
    if _in_a_repository(tmp_path):
        pytest.skip("the temporary folder is in a repository")
    monkeypatch.chdir(tmp_path)
    assert by_us(tmp_path / "src") == []


def _in_a_repository(folder: Path) -> bool:
    return any(os.path.exists(parent / ".git") for parent in (folder, *folder.parents))
