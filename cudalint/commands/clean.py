"""`cudalint clean`: remove caches, and nothing that only might be one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence

from cudalint.config import Configuration
from cudalint.errors import UsageError
from cudalint.render.terminal import say
from cudalint.settings import CACHE_FOLDER

TAG = "CACHEDIR.TAG"  # the cache writes it; a folder without it is somebody's own


def clean(paths: Sequence[str], cache_dir: str | None) -> int:
    """Remove the configured cache of every path, and those of the projects below it."""
    configuration = Configuration(flags={"cache-dir": cache_dir} if cache_dir else None)
    for path in paths:
        if not os.path.isdir(path):
            raise UsageError(f"{path}: no such folder")
        for cache in _caches(os.path.abspath(path), configuration):
            shutil.rmtree(cache, ignore_errors=True)
            say(f"Removed {cache}")
    return 0


def _caches(folder: str, configuration: Configuration) -> Iterator[str]:
    configured = configuration.of(folder).cache_dir
    if os.path.isdir(configured):
        if not os.path.exists(os.path.join(configured, TAG)):
            raise UsageError(f"{configured}: not removed, it has no {TAG} and may be no cache")
        yield configured
    for parent, folders, _ in os.walk(folder):
        if CACHE_FOLDER in folders:
            folders.remove(CACHE_FOLDER)
            cache = os.path.join(parent, CACHE_FOLDER)
            if cache != configured and os.path.exists(os.path.join(cache, TAG)):
                yield cache
