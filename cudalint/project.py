"""Whether the project around a package names CUDA: models stand beside the scripts that choose it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice

from cudalint.package import bits_of
from cudalint.read import PYTHON, contents

# What stands at the top of a project, and how far above a package that top is looked for.
_MARKS = (
    *(".git", "pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "environment.yml"),
    *("README.md", "README.rst", "LICENSE"),
)
LEVELS = 3
_ASIDE = ("venv", "env", "build", "node_modules")
# Bounds of what is read and listed, not of time: a file gives the same findings in every run.
FILES, ENTRIES = 60, 2000


def names_cuda_around(root: str) -> bool:
    """Whether one of the first files of the project that a package belongs to names CUDA."""
    project = _project_of(os.path.abspath(root))
    return bool(project) and _names_cuda(project)


@cache
def _project_of(root: str) -> str:
    """The nearest folder around a package, or itself, that holds what marks a project's top, or ""."""
    folder = root
    for _ in range(LEVELS + 1):
        if any(os.path.exists(os.path.join(folder, mark)) for mark in _MARKS):
            return folder
        folder = os.path.dirname(folder)
    return ""


@cache
def _names_cuda(project: str) -> bool:
    for path in islice(_files(project), FILES):
        with suppress(OSError):
            if bits_of(contents(path)[0]).names_cuda:
                return True
    return False


def _files(project: str) -> Iterator[str]:
    """The Python files of a project, those nearest its top first."""
    folders, left = deque([project]), ENTRIES
    while folders and left:
        entries: list[os.DirEntry[str]] = []
        with suppress(OSError), os.scandir(folders.popleft()) as found:
            entries = sorted(islice(found, left), key=lambda entry: entry.name)
        left -= len(entries)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith((".", "_")) and entry.name not in _ASIDE:
                    folders.append(entry.path)
            elif entry.name.endswith(PYTHON):
                yield entry.path
