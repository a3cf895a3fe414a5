"""Reports to text: one module a format, each a pure function from `Report` and `View`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from cudalint.model import Diagnostic, Edit, Fix
    from cudalint.report import Report

# The formats that show edits or source; the others need titles alone.
WITH_EDITS = frozenset({"full", "json", "sarif"})
# The formats that people read: a summary follows.
FOR_PEOPLE = frozenset({"full", "concise"})


class View(NamedTuple):
    """How a report is shown: paths relative to `cwd`, colours or none, what counts as fixable."""

    cwd: str
    color: bool = False
    unsafe_fixes: bool = False


def render(report: Report, output_format: str, view: View) -> str:
    """The report in a format; empty where a format for people has nothing to show."""
    if output_format in FOR_PEOPLE and not any(each.diagnostics for each in report.results):
        return ""
    module = import_module(f"cudalint.render.{output_format}")
    return cast("str", module.render(report, view))


def relative(path: str, cwd: str) -> str:
    """A path as it is shown: relative where it lies below the current folder."""
    start = cwd.rstrip("/") + "/"
    return path[len(start) :] if path.startswith(start) else path


def applies(diagnostic: Diagnostic, view: View) -> bool:
    """Whether `cudalint fix` would mend this with the options of this run."""
    fix = diagnostic.fix
    return fix is not None and (
        fix.safety == "safe" or (fix.safety == "unsafe" and view.unsafe_fixes)
    )


def in_order(fix: Fix) -> list[Edit]:
    """The edits of a fix by place; those at one place stay in the order they were made."""
    return sorted(fix.edits or (), key=lambda edit: edit.span)
