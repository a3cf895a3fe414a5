"""What was found, as it is shown: where it stands, what its message says, how it would be mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.engine import Analysis, Reported, crash, patch_of
from cudalint.model import Diagnostic, Edit, Fix, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.settings import Settings


def diagnostics(analysis: Analysis, settings: Settings, *, edits: bool) -> tuple[Diagnostic, ...]:
    """The reports as they are shown; the edits of fixes are written only where asked for."""
    return tuple(_diagnostic(report, analysis, settings, edits) for report in analysis.reports)


def _diagnostic(
    report: Reported, analysis: Analysis, settings: Settings, edits: bool
) -> Diagnostic:
    source, rule, finding = analysis.source, report.rule, report.finding
    message = finding.message
    if isinstance(report.plan, Refusal):
        message = f"{message}; not rewritten: {report.plan.reason}"
    start = source.position(finding.span.start)
    return Diagnostic(
        code=rule.code,
        name=rule.name,
        severity=settings.severity(rule),
        span=finding.span,
        message=message,
        fix=_fix(report, analysis, edits),
        start=start,
        end=source.position(finding.span.end),
        noqa_row=start.row,
    )


def _fix(report: Reported, analysis: Analysis, edits: bool) -> Fix | None:
    if report.own is not None:
        title = "Remove the unused suppression"
        if report.rule.code == "CUE003":
            title = f"Replace it by `{report.own.edits[0].content.decode()}`"
        return Fix("safe", title, report.own.edits if edits else None)
    if not isinstance(report.plan, Plan):
        return None
    written: tuple[Edit, ...] | None = None
    if edits and analysis.facts is not None:
        from cudalint.rewrite.imports import with_imports

        try:
            patch = patch_of(report)
        except Exception as error:
            analysis.errors.append(crash(report.rule, "fix", error))
            return None
        written = () if patch is None else with_imports([patch], analysis.facts)
    return Fix(report.plan.safety, report.plan.title, written)
