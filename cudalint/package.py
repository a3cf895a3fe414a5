"""Package facts: a few bits that the bytes of a package's files give without parsing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile
from cudalint.model import PackageFacts
from cudalint.read import PYTHON, contents
from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from cudalint.occurrences import Holds

SECONDS = 0.02  # to read a package that the run did not walk; what is then lacking is unknown
_NAMES = (
    *(b".cuda(", b'"cuda"', b"'cuda'", b'"cuda:', b"'cuda:", b"torch.cuda."),
    *(b"torch.accelerator", b"Accelerator("),
)
_PINNED = b"pin_memory"
WORDS = (*_NAMES, _PINNED)
_PINS = lazy_compile(rb"""pin_memory["']?\s*[=:]\s*True""")


class Bits(NamedTuple):
    """What one file contributes."""

    names_cuda: bool = False
    pins_loaders: bool = False


def bits_of(data: bytes, holds: Holds | None = None) -> Bits:
    """The bits of one file's bytes; `holds` knows which of `WORDS` they hold."""
    holds = holds or data.__contains__
    pins = holds(_PINNED) and _PINS.search(data) is not None
    return Bits(any(map(holds, _NAMES)), pins)


@cache
def root_of(folder: str) -> str:
    """The top-most folder in an unbroken chain of `__init__.py`, else the folder itself."""
    parent = os.path.dirname(folder)
    is_package = os.path.isfile(os.path.join(folder, "__init__.py"))
    if parent in ("", folder) or not is_package:
        return folder
    return root_of(parent) if os.path.isfile(os.path.join(parent, "__init__.py")) else folder


def merge(root: str, bits: Iterable[Bits], complete: bool = True) -> PackageFacts:
    """The facts of a package from the bits of its files."""
    given = list(bits)
    return PackageFacts(
        names_cuda=any(b.names_cuda for b in given),
        pins_loaders=any(b.pins_loaders for b in given),
        is_library=os.path.isfile(os.path.join(root, "__init__.py")),
        complete=complete,
    )


def gather(root: str) -> PackageFacts:
    """The facts of a package on disk; incomplete where reading it takes longer than `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    found: list[Bits] = []
    for path in _files(root):
        if time.monotonic() > deadline:
            return merge(root, found, complete=False)
        try:
            found.append(bits_of(contents(path)[0]))
        except OSError:
            continue
    return merge(root, found)


def _files(root: str) -> Iterable[str]:
    """The Python files of a package; of a folder that is none, its own files only."""
    nested = os.path.isfile(os.path.join(root, "__init__.py"))
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(folders) if nested else []
        yield from (os.path.join(folder, name) for name in sorted(names) if name.endswith(PYTHON))
