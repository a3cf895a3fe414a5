"""Paths of the command line to the files that are checked, each of them once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cudalint.config import FILES, Configuration
from cudalint.read import CUDA, MAYBE_CUDA, PYTHON
from cudalint.records import NamedTuple, field, record

if TYPE_CHECKING:
    from cudalint.ignore import Ignores
    from cudalint.settings import Settings

# C++ sources are candidates: whether they are CUDA is decided when they are read.
SUFFIXES = frozenset(suffix.rpartition(".")[2] for suffix in (*PYTHON, *CUDA, *MAYBE_CUDA))


class Found(NamedTuple):
    """A file to check; `explicit` where it was named itself, not a folder above it."""

    path: str
    explicit: bool
    settings: Settings


class _Folder(NamedTuple):
    """A folder still to be walked, with what holds in it."""

    path: str
    settings: Settings
    ignores: Ignores | None


@record
class _Walk:
    """What one discovery gathers. `links` wait until all real files are known."""

    configuration: Configuration
    files: dict[str, Found] = field(default_factory=dict)
    links: list[Found] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    walked: set[str] = field(default_factory=set)


def discover(
    paths: Iterable[str], configuration: Configuration
) -> tuple[list[Found], tuple[str, ...]]:
    """The files under `paths`, ordered by path, and a message for every path that is missing."""
    walk = _Walk(configuration)
    for path in paths:
        absolute = os.path.abspath(path)
        if os.path.isdir(absolute):
            _root(walk, absolute)
        elif os.path.exists(absolute):
            _named(walk, absolute)
        else:
            walk.errors.append(f"{path}: no such file or folder")
    _follow_links(walk)
    return [walk.files[path] for path in sorted(walk.files)], tuple(walk.errors)


def excluded(path: str, settings: Settings) -> bool:
    """Whether a path, or a folder above it within the settings' root, is excluded."""
    matches = settings.excluded
    while path and path != settings.root:
        parent, name = os.path.split(path)
        if matches(path, name):
            return True
        if parent == path:
            break
        path = parent
    return False


def _named(walk: _Walk, path: str) -> None:
    """A file that was named is checked, unless `force-exclude` says otherwise."""
    settings = walk.configuration.of(os.path.dirname(path))
    if settings.force_exclude and excluded(path, settings):
        return
    found = Found(path, True, settings)
    if os.path.realpath(path) == path:
        walk.files[path] = found
    else:
        walk.links.append(found)


def _root(walk: _Walk, path: str) -> None:
    """A folder that was named is walked, whatever git or `exclude` say of itself."""
    settings = walk.configuration.of(path)
    if settings.force_exclude and excluded(path, settings):
        return
    before = set(walk.files) if os.path.realpath(path) != path else None
    pending = [_Folder(path, settings, _ignores(path, settings))]
    while pending:
        folder = pending.pop()
        if folder.path not in walk.walked:
            walk.walked.add(folder.path)
            pending += _enter(walk, folder)
    if before is not None:  # reached through a link: their real paths decide
        walk.links += [walk.files.pop(each) for each in set(walk.files) - before]


def _ignores(path: str, settings: Settings) -> Ignores | None:
    if not settings.respect_gitignore:
        return None
    from cudalint import ignore

    return ignore.above(path)


def _enter(walk: _Walk, folder: _Folder) -> list[_Folder]:
    """Take the files of a folder; the folders below it are given back."""
    try:
        with os.scandir(folder.path) as scan:
            entries = list(scan)
    except OSError as error:
        walk.errors.append(f"{folder.path}: cannot be read: {error.strerror}")
        return []
    settings, ignores = folder.settings, folder.ignores
    names = {entry.name for entry in entries}
    if not FILES.isdisjoint(names):
        settings = walk.configuration.of(folder.path)
    if ".gitignore" in names and ignores is not None:
        ignores = ignores.within(folder.path)
    return _sort_out(walk, entries, _Folder(folder.path, settings, ignores))


def _sort_out(walk: _Walk, entries: list[os.DirEntry[str]], folder: _Folder) -> list[_Folder]:
    _, settings, ignores = folder
    excludes, languages = settings.excluded, settings.languages
    below: list[_Folder] = []
    for entry in entries:
        name = entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if not is_folder:
            suffix = name.rpartition(".")[2] if "." in name else ""
            if suffix not in SUFFIXES and suffix not in languages:
                continue
        path = entry.path
        if excludes(path, name) or (ignores and ignores.ignored(path, name, is_folder)):
            continue
        if is_folder:
            below.append(_Folder(path, settings, ignores))
        elif entry.is_symlink():
            walk.links.append(Found(path, False, settings))
        elif entry.is_file(follow_symlinks=False) and path not in walk.files:
            walk.files[path] = Found(path, False, settings)
    return below


def _follow_links(walk: _Walk) -> None:
    """Files behind links count where nothing else leads to them."""
    if not walk.links:
        return
    real = {os.path.realpath(path) for path in walk.files}
    order = sorted(walk.links, key=lambda f: (not f.explicit, os.path.islink(f.path), f.path))
    for link in order:
        target = os.path.realpath(link.path)
        if target not in real and os.path.isfile(target):
            real.add(target)
            walk.files[link.path] = link
