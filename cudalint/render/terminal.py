"""Where output goes: standard output or a file, with colours or without, and a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import IO, TYPE_CHECKING, Any

from cudalint.errors import UsageError
from cudalint.render.style import Style

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from cudalint.report import Progress

PATIENCE = 1.0  # seconds after which a run is long enough for a bar
REFRESH = 0.1  # seconds between two pictures of it


def say(text: str) -> None:
    """A line on standard output, in UTF-8 whatever the locale says."""
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{text}\n".encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()


class Terminal:
    """Findings go to `out`, messages to standard error; `silent` drops the messages."""

    def __init__(self, output_file: str | None, color: str, silent: bool) -> None:
        self.silent = silent
        self.file: IO[bytes] | None = _opened(output_file) if output_file else None
        stream: Any = self.file or sys.stdout
        self.out: IO[bytes] = self.file or sys.stdout.buffer
        self.color = wants_color(color, stream)
        self.style = Style(wants_color(color, sys.stderr))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def write(self, text: str) -> None:
        self.write_bytes(text.encode("utf-8", "surrogateescape"))

    def write_bytes(self, data: bytes) -> None:
        if data:
            self.out.write(data)
            self.out.flush()

    def to_stderr(self) -> None:
        """Standard output now holds the fixed source: all else goes to standard error."""
        if self.file is None:
            self.out = sys.stderr.buffer
            self.color = self.style.color

    def errors(self, messages: Iterable[str]) -> None:
        for message in messages:
            self.note(f"{self.style.error('error:')} {message}\n")

    def warning(self, message: str) -> None:
        self.note(f"{self.style.severity('warning', 'warning:')} {message}\n")

    def note(self, text: str) -> None:
        if not self.silent:
            sys.stderr.buffer.write(text.encode("utf-8", "surrogateescape"))
            sys.stderr.buffer.flush()

    @contextmanager
    def progress(self, total: int, wanted: bool) -> Iterator[Progress | None]:
        """A bar on standard error for a run of `total` files; None where nobody would see it."""
        if not wanted or self.silent or not sys.stderr.isatty():
            yield None
            return
        bar = _LateBar(total)
        try:
            yield bar
        finally:
            bar.stop()


class _LateBar:
    """A bar that appears once a run takes long; `rich` is only loaded then."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.before = 0  # files of the runs that are done
        self.due = perf_counter() + PATIENCE
        self.bar: Bar | None = None

    def __call__(self, done: int, total: int) -> None:
        if (now := perf_counter()) > self.due:
            self.due = now + REFRESH
            self.bar = self.bar or _bar(self.total)
            self.bar.update(self.bar.task_ids[0], completed=self.before + done, refresh=True)
        if done == total:
            self.before += total

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def _bar(total: int) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("checking", BarColumn(), MofNCompleteColumn(), "files", TimeRemainingColumn())
    # no refreshing thread: a process with threads must not fork
    bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    bar.add_task("checking", total=total)
    bar.start()
    return bar


def _opened(path: str) -> IO[bytes]:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        return open(path, "wb")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def wants_color(when: str, stream: Any) -> bool:
    """`--color`, then the environment's usual wishes, then whether a terminal reads."""
    if when != "auto":
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"
