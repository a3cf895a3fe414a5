"""The lines after the findings: how many there are, what was mended, what could be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cudalint.registry import by_code
from cudalint.render import View, applies, relative
from cudalint.render.style import Style

if TYPE_CHECKING:
    from cudalint.model import Diagnostic
    from cudalint.report import Report


def counted(report: Report) -> list[Diagnostic]:
    """The findings that count for the exit code: all but hints."""
    return [d for result in report.results for d in result.diagnostics if d.severity != "hint"]


def fixed(report: Report) -> int:
    return sum(sum(result.fixed.values()) for result in report.results)


def summary(report: Report, view: View, complete: bool = True) -> str:
    """The last line of a check or a fix; not `complete` where something could not be checked."""
    remaining, mended = counted(report), fixed(report)
    hints = sum(len(result.diagnostics) for result in report.results) - len(remaining)
    found = len(remaining) + mended
    if not found and not complete:
        line = "No findings, but not everything could be checked."
    elif not found:
        line = "All checks passed!"
    else:
        outcome = f" ({mended} fixed, {len(remaining)} remaining)" if mended else ""
        line = f"Found {_plural(found, 'error')}{outcome}.{_fixable(remaining, view)}"
    if hints:
        line += f" {_plural(hints, 'hint')} not counted."
    return line + "\n"


def _fixable(remaining: list[Diagnostic], view: View) -> str:
    """What `cudalint fix` would mend now, and how much more with unsafe fixes."""
    now = sum(applies(d, view) for d in remaining)
    wider = view._replace(unsafe_fixes=True)
    more = sum(applies(d, wider) for d in remaining) - now
    if not now and not more:
        return ""
    command = "cudalint fix --unsafe-fixes" if view.unsafe_fixes else "cudalint fix"
    if not now:
        return f" {more} fixable with `cudalint fix --unsafe-fixes`."
    extra = f" ({more} more with `--unsafe-fixes`)" if more else ""
    return f" [*] {now} fixable with `{command}`{extra}."


def fixes(report: Report, view: View) -> str:
    """What was mended, file by file."""
    if not (total := fixed(report)):
        return ""
    lines = [f"Fixed {_plural(total, 'error')}:"]
    for result in report.results:
        if result.fixed:
            lines.append(f"- {relative(result.path, view.cwd)}:")
        for code, count in sorted(result.fixed.items(), key=lambda item: (-item[1], item[0])):
            lines.append(f"    {count} × {code} ({by_code()[code].name})")
    return "\n".join(lines) + "\n\n"


def would_fix(report: Report, view: View) -> str:
    """The line after a diff."""
    count = fixed(report)
    wider = view._replace(unsafe_fixes=True)
    more = sum(applies(d, wider) and not applies(d, view) for d in counted(report))
    extra = f" ({more} more with `--unsafe-fixes`)" if more else ""
    line = f"Would fix {_plural(count, 'error')}" if count else "No errors would be fixed"
    return f"{line}{extra}.\n"


def suppressed(report: Report) -> str:
    """The line after `--add-noqa`."""
    return f"Added {_plural(fixed(report), 'suppression')}.\n"


def statistics(report: Report, view: View, as_json: bool) -> str:
    """Counts by rule, the most frequent first."""
    diagnostics = [d for result in report.results for d in result.diagnostics]
    counts = Counter(d.code for d in diagnostics)
    fixable = Counter(d.code for d in diagnostics if applies(d, view))
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if as_json:
        from json import dumps

        return dumps([_entry(code, n, fixable[code]) for code, n in rows], indent=2) + "\n"
    return "".join(_lines(rows, fixable, Style(view.color)))


def _entry(code: str, count: int, fixable: int) -> dict[str, Any]:
    return {
        "code": code,
        "name": by_code()[code].name,
        "count": count,
        "fixable": fixable == count,
        "fixable_count": fixable,
    }


def _lines(rows: list[tuple[str, int]], fixable: Counter[str], style: Style) -> Iterator[str]:
    pad = len(str(rows[0][1])) if rows else 0
    for code, count in rows:
        mark = "[*]" if fixable[code] == count else "[-]" if fixable[code] else "[ ]"
        name = by_code()[code].name
        yield f"{style.bold(f'{count:>{pad}}')}\t{style.error(code)}\t{style.accent(mark)} {name}\n"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
