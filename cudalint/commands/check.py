"""`cudalint check` and `cudalint fix`: from arguments to exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from types import MappingProxyType
from typing import Any

from cudalint import render
from cudalint.config import Configuration
from cudalint.discover import Found, discover, excluded
from cudalint.errors import UsageError
from cudalint.records import NamedTuple
from cudalint.render import View, summary
from cudalint.render.terminal import Terminal
from cudalint.report import Edits, Mode, Report, Target
from cudalint.settings import Settings

STDIN = "-"


class Arguments(NamedTuple):
    """The command line of `check` and `fix`. `flags` are keys of the configuration."""

    paths: tuple[str, ...]
    flags: Mapping[str, Any] = MappingProxyType({})
    config: tuple[str, ...] = ()
    isolated: bool = False
    ignore_noqa: bool = False
    diff: bool = False
    add_noqa: bool = False
    statistics: bool = False
    show_files: bool = False
    show_settings: bool = False
    exit_zero: bool = False
    exit_non_zero_on_fix: bool = False
    stdin_filename: str | None = None
    no_cache: bool = False
    jobs: int | None = None
    output_file: str | None = None
    color: str = "auto"
    quiet: bool = False
    silent: bool = False
    verbose: bool = False


def check(arguments: Arguments) -> int:
    """Run the command; the result is the exit code."""
    configuration = Configuration(
        config=arguments.config,
        isolated=arguments.isolated,
        flags=arguments.flags,
        ignore_noqa=arguments.ignore_noqa,
    )
    session = Session(arguments, configuration, configuration.of(configuration.cwd))
    with Terminal(arguments.output_file, arguments.color, arguments.silent) as terminal:
        return session.run(terminal)


class Session:
    """One run of the command: what it was asked for, and where it writes."""

    def __init__(
        self, arguments: Arguments, configuration: Configuration, settings: Settings
    ) -> None:
        self.arguments, self.configuration, self.settings = arguments, configuration, settings
        self.mode = _mode(arguments, settings)
        self.on_stdin = STDIN in arguments.paths
        if self.on_stdin and len(arguments.paths) > 1:
            raise UsageError("`-` (standard input) cannot be combined with paths")
        if self.on_stdin and self.mode == "add-noqa":
            raise UsageError("`--add-noqa` writes into files; it cannot work on standard input")
        self.content = sys.stdin.buffer.read() if self.on_stdin else None

    def run(self, terminal: Terminal) -> int:
        found, missing = self._discover()
        if self.arguments.show_files or self.arguments.show_settings:
            self._show(found, terminal)
            terminal.errors(missing)
            return 2 if missing else 0
        started = perf_counter()
        report = self._report(found, terminal)
        self._explain(report, perf_counter() - started, terminal)
        errors = [*missing, *_errors(report, self.configuration.cwd)]
        if not report.files and not errors:
            terminal.warning("no Python or CUDA files found under the given paths")
        view = View(self.configuration.cwd, terminal.color, self.settings.unsafe_fixes)
        self._write(report, view, terminal)
        terminal.errors(errors)
        if not self.arguments.quiet and not self.arguments.silent:
            self._conclude(report, view, not errors, terminal)
        return 2 if errors else self._exit_code(report)

    def _discover(self) -> tuple[list[Found], tuple[str, ...]]:
        if not self.on_stdin:
            return discover(self.arguments.paths or (".",), self.configuration)
        path = os.path.abspath(self.arguments.stdin_filename or STDIN)
        settings = self.configuration.of(os.path.dirname(path))
        return [Found(path, True, settings)], ()

    def _report(self, found: list[Found], terminal: Terminal) -> Report:
        """The report over all files; those with the same settings are one run."""
        groups = self._groups(found)
        if not groups:
            return Report(0)
        from cudalint.run import run

        reports = []
        with terminal.progress(len(found), not self.arguments.quiet) as progress:
            for settings, targets in groups:
                cache = None if self.arguments.no_cache else settings.cache_dir
                reports.append(
                    run(
                        targets,
                        settings,
                        mode=self.mode,
                        edits=self._edits(),
                        jobs=self.arguments.jobs,
                        cache_dir=cache,
                        progress=progress,
                    )
                )
        results = [result for report in reports for result in report.results]
        results.sort(key=lambda result: result.path)
        return Report(sum(report.files for report in reports), tuple(results))

    def _groups(self, found: list[Found]) -> list[tuple[Settings, list[Target]]]:
        groups: dict[int, tuple[Settings, list[Target]]] = {}  # folders share one object
        for path, explicit, settings in found:
            if self.on_stdin and settings.force_exclude and excluded(path, settings):
                continue
            group = groups.setdefault(id(settings), (settings, []))
            group[1].append(Target(path, explicit, self.content))
        return list(groups.values())

    def _edits(self) -> Edits:
        shown = self.settings.output_format in render.WITH_EDITS and not self._is_terse()
        return "shown" if shown else "none"

    def _is_terse(self) -> bool:
        """Whether the findings themselves are not printed."""
        arguments = self.arguments
        only_fix = self.mode == "fix" and self.settings.fix_only
        return arguments.statistics or arguments.silent or only_fix or self.mode in _NO_FINDINGS

    def _show(self, found: list[Found], terminal: Terminal) -> None:
        if self.arguments.show_files:
            terminal.write("".join(f"{each.path}\n" for each in found))
            return
        from cudalint.commands.config import resolved

        here = Found(self.configuration.cwd, False, self.settings)
        first = (found or [here])[0]
        terminal.write(resolved(first.path, first.settings))

    def _write(self, report: Report, view: View, terminal: Terminal) -> None:
        if self.content is not None and self.mode == "fix":
            terminal.write_bytes(_after(report, self.content))
            terminal.to_stderr()
        if self.arguments.silent:
            return
        if self.mode == "diff":
            from cudalint.render.diff import render as diff

            terminal.write_bytes(diff(report, view))
        elif self.arguments.statistics:
            as_json = self.settings.output_format == "json"
            terminal.write(summary.statistics(report, view, as_json))
        elif not self._is_terse():
            terminal.write(render.render(report, self.settings.output_format, view))

    def _conclude(self, report: Report, view: View, complete: bool, terminal: Terminal) -> None:
        """The last lines, where they would not spoil a format for programs."""
        if self.mode == "diff":
            terminal.note(summary.would_fix(report, view))
        elif self.mode == "add-noqa":
            terminal.write(summary.suppressed(report))
        elif self.settings.output_format in render.FOR_PEOPLE:
            if self.settings.show_fixes:
                terminal.write(summary.fixes(report, view))
            terminal.write(summary.summary(report, view, complete))

    def _exit_code(self, report: Report) -> int:
        fixed = summary.fixed(report) > 0
        if self.arguments.exit_zero or self.mode == "add-noqa":
            return 0
        if self.mode == "diff":
            return int(fixed)
        if fixed and self.arguments.exit_non_zero_on_fix:
            return 1
        if self.mode == "fix" and self.settings.fix_only:
            return 0
        return int(bool(summary.counted(report)))

    def _explain(self, report: Report, seconds: float, terminal: Terminal) -> None:
        if not self.arguments.verbose:
            return
        origin = self.settings.origin or "none: defaults"
        terminal.note(f"configuration: {origin}\n")
        terminal.note(f"rules: {' '.join(rule.code for rule in self.settings.rules)}\n")
        cache = "off" if self.arguments.no_cache else self.settings.cache_dir
        terminal.note(f"cache: {cache}\n")
        terminal.note(f"checked {report.files} files in {seconds * 1000:.0f} ms\n")


_NO_FINDINGS: Sequence[Mode] = ("diff", "add-noqa")


def _mode(arguments: Arguments, settings: Settings) -> Mode:
    asked = arguments.flags.get("fix") or arguments.flags.get("fix-only")
    if arguments.add_noqa and (arguments.diff or asked):
        raise UsageError("`--add-noqa` cannot be combined with `--fix`, `--fix-only` or `--diff`")
    if arguments.add_noqa:
        return "add-noqa"
    if arguments.diff:
        return "diff"
    return "fix" if settings.fix or settings.fix_only else "check"


def _errors(report: Report, cwd: str) -> Iterator[str]:
    for result in report.results:
        for error in result.errors:
            text = error.removeprefix(f"{result.path}: ")
            yield f"{render.relative(result.path, cwd)}: {text}"


def _after(report: Report, content: bytes) -> bytes:
    """What standard input becomes, in its own encoding."""
    for result in report.results:
        if result.new_text is not None:
            text = result.new_text.decode("utf-8", "surrogateescape")
            return result.bom + text.encode(result.encoding, "surrogateescape")
    return content
