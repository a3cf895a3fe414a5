"""What earlier runs found, by content: a warm run reads no file that did not change.

JSON, not pickle: a cache that came with somebody's checkout must not be able to run code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from cudalint import __version__
from cudalint.model import Diagnostic, Edit, Fix, PackageFacts, Position, Span
from cudalint.package import Bits

if TYPE_CHECKING:
    from cudalint.settings import Settings

FORMAT = 1
RACY = 2_000_000_000  # ns: a file written this shortly before the run may change unseen
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n"  # https://bford.info/cachedir/


class Entry(NamedTuple):
    """What is known of one file: how it looked, its bits, and what the rules found.

    `package` holds the package facts that the findings were made with, None where no rule could
    fire and they were not asked for.
    """

    size: int
    mtime_ns: int
    digest: str
    bits: Bits
    package: PackageFacts | None
    diagnostics: tuple[Diagnostic, ...]


def digest_of(data: bytes) -> str:
    """The content key of a file."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Cache:
    """The entries of one folder for one version, rule set and configuration."""

    def __init__(self, folder: str, settings: Settings, edits: bool) -> None:
        key = [FORMAT, __version__, sys.version_info[:2], _own_sources(), settings.digest(), edits]
        name = hashlib.blake2b(repr(key).encode(), digest_size=12).hexdigest()
        self.folder = folder
        self.path = os.path.join(folder, f"{name}.json")
        self.started = time.time_ns()
        self.files: dict[str, Any] = {}
        self.packages: dict[str, Any] = {}
        self.changed = False
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            with open(self.path, encoding="utf-8") as file:
                data = json.load(file)
            self.files, self.packages = dict(data["files"]), dict(data["packages"])

    def get(self, path: str) -> Entry | None:
        """The entry of a path, whether or not it is still true."""
        raw = self.files.get(path)
        try:
            return None if raw is None else _entry(raw)
        except (TypeError, ValueError, IndexError):  # written by hand, or by another program
            return None

    def put(self, path: str, entry: Entry) -> None:
        """Remember an entry, unless the file may still change under the same time stamp."""
        if entry.mtime_ns + RACY < self.started:
            self.files[path] = _raw(entry)
            self.changed = True

    def package(self, root: str, stamp: int) -> PackageFacts | None:
        """The facts of a package folder whose modification time is `stamp`."""
        raw = self.packages.get(root)
        size = 1 + len(PackageFacts.__match_args__)
        if not isinstance(raw, list) or len(raw) != size or raw[0] != stamp:
            return None
        return PackageFacts(*map(bool, raw[1:]))

    def put_package(self, root: str, stamp: int, facts: PackageFacts) -> None:
        """Remember what was gathered; what took too long is not known and not kept."""
        if facts.complete:
            self.packages[root] = [stamp, *_bools(facts)]
            self.changed = True

    def save(self) -> None:
        """Write the entries; a cache that cannot be written is no error."""
        if not self.changed:
            return
        import tempfile

        with contextlib.suppress(OSError):
            os.makedirs(self.folder, exist_ok=True)
            for name, text in ((".gitignore", "*\n"), ("CACHEDIR.TAG", TAG)):
                if not os.path.exists(os.path.join(self.folder, name)):
                    with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                        file.write(text)
            data = {"files": self.files, "packages": self.packages}
            handle, temporary = tempfile.mkstemp(dir=self.folder)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(data, file, separators=(",", ":"))
            os.replace(temporary, self.path)


def _own_sources() -> list[tuple[str, int]]:
    """The package's folders and when they changed: an edited rule must not be answered from here."""
    base = os.path.dirname(__file__)
    found = []
    for part in (".", "checks", "fixes", "facts", "rewrite"):
        for folder, _, names in os.walk(os.path.join(base, part)):
            stamps = [
                os.stat(os.path.join(folder, name)).st_mtime_ns
                for name in names
                if name.endswith(".py")
            ]
            found.append((os.path.relpath(folder, base), hash(tuple(sorted(stamps)))))
            if part == ".":
                break
    return sorted(found)


def _bools(facts: PackageFacts) -> list[int]:
    return [int(getattr(facts, name)) for name in facts.__match_args__]


def _raw(entry: Entry) -> list[Any]:
    package = None if entry.package is None else _bools(entry.package)
    found = [_raw_diagnostic(diagnostic) for diagnostic in entry.diagnostics]
    return [entry.size, entry.mtime_ns, entry.digest, list(map(int, entry.bits)), package, found]


def _raw_diagnostic(diagnostic: Diagnostic) -> list[Any]:
    fix = diagnostic.fix
    raw_fix = None
    if fix is not None:
        edits = fix.edits
        raw = None if edits is None else [[*e.span, e.content.decode("utf-8")] for e in edits]
        raw_fix = [fix.safety, fix.title, raw]
    return [*diagnostic[:3], diagnostic.span, diagnostic.message, raw_fix, *diagnostic[6:]]


def _entry(raw: list[Any]) -> Entry:
    size, mtime_ns, digest, bits, package, found = raw
    facts = None if package is None else PackageFacts(*map(bool, package))
    diagnostics = tuple(map(_diagnostic, found))
    return Entry(size, mtime_ns, digest, Bits(*map(bool, bits)), facts, diagnostics)


def _diagnostic(raw: list[Any]) -> Diagnostic:
    code, name, severity, span, message, fix, start, end, noqa_row = raw
    made = None
    if fix is not None:
        safety, title, edits = fix
        written = None
        if edits is not None:
            written = tuple(Edit(Span(a, b), content.encode()) for a, b, content in edits)
        made = Fix(safety, title, written)
    places = Position(*start), Position(*end)
    return Diagnostic(code, name, severity, Span(*span), message, made, *places, noqa_row)
