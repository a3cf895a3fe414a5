"""Bytes to `Source`: decoded once by byte-order mark or PEP 263 cookie, and encoded back."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile
from cudalint.model import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cudalint.model import Language

_COOKIE = lazy_compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # PEP 263
_BLANK = lazy_compile(rb"^[ \t\f]*(?:[#\r\n]|$)")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
PYTHON = (".py", ".pyi")
CUDA = (".cu", ".cuh", ".cu.h")
MAYBE_CUDA = (".cpp", ".cc", ".cxx", ".c++", ".h", ".hh", ".hpp", ".hxx")


def contents(path: str) -> tuple[bytes, os.stat_result]:
    """The bytes of a file, and its status.

    Read by system calls alone: of a tree of small files `open` takes twice the time.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        data = os.read(descriptor, status.st_size + 1)
        if len(data) != status.st_size:  # a pipe, or a file that changes
            parts = [data]
            while parts[-1]:
                parts.append(os.read(descriptor, 1 << 16))
            data = b"".join(parts)
    finally:
        os.close(descriptor)
    return data, status


def language_of(
    path: str, data: bytes, extension: Iterable[tuple[str, Language]] = ()
) -> Language | None:
    """The language of a file by its ending; C++ is CUDA where it defines a kernel."""
    if extension and (given := dict(extension).get(path.rpartition(".")[2])) is not None:
        return given
    if path.endswith(PYTHON):
        return "python"
    if path.endswith(CUDA) or (path.endswith(MAYBE_CUDA) and b"__global__" in data):
        return "cuda"
    return None


def decode(path: str, data: bytes, language: Language) -> Source:
    """The source of a file; what cannot be decoded keeps its bytes and says why."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(path, data[len(mark) :], language, encoding, mark)
    encoding = _declared(data) if language == "python" else "utf-8"
    return _decoded(path, data, language, encoding, b"")


def encode(source: Source, text: bytes) -> bytes:
    """`text` as the bytes of a file in the source's encoding, byte-order mark included.

    Raises UnicodeEncodeError where the encoding lacks a character.
    """
    if source.encoding == "utf-8":
        return source.bom + text
    return source.bom + text.decode("utf-8").encode(source.encoding)


def _declared(data: bytes) -> str:
    rows = data.split(b"\n", 2)[:2]
    for line in rows if any(b"coding" in row for row in rows) else ():
        if found := _COOKIE.match(line):
            return _normal(found.group(1).decode("ascii"))
        if not _BLANK.match(line):
            break
    return "utf-8"


def _normal(name: str) -> str:
    try:
        found = codecs.lookup(name).name
    except LookupError:
        return name
    return "utf-8" if found == "utf-8-sig" else found


def _decoded(path: str, data: bytes, language: Language, encoding: str, mark: bytes) -> Source:
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError, ValueError) as error:
        why = f"not text in the declared encoding {encoding!r}: {error}"
        return Source(path, data, language, encoding, mark, why)
    if encoding == "utf-8":
        return Source(path, data, language, encoding, mark)
    return Source(path, text.encode("utf-8"), language, encoding, mark)
