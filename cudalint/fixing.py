"""Fixes applied to one source until nothing changes any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cudalint.engine import Analysis, Reported, analyse, crash, patch_of
from cudalint.model import Finding, PackageFacts, Patch, Plan, Source, Span
from cudalint.records import field, record, replace
from cudalint.registry import Rule, by_code
from cudalint.rewrite.edits import apply, clash
from cudalint.rewrite.guard import keeps_syntax
from cudalint.rewrite.imports import with_imports

if TYPE_CHECKING:
    from cudalint.settings import Settings

PASSES = 20  # ruff stops after 100; nested computations need one pass a level


@record
class Fixed:
    """The source after its fixes, what was applied by rule, and what is left."""

    source: Source
    analysis: Analysis
    applied: Counter[str] = field(default_factory=Counter)
    withdrawn: list[Reported] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def applicable(report: Reported, settings: Settings) -> bool:
    """Whether `fix` applies a report's fix under the settings."""
    return report.safety == "safe" or (report.safety == "unsafe" and settings.unsafe_fixes)


def fix(
    source: Source,
    rules: Iterable[Rule],
    settings: Settings,
    package: PackageFacts,
) -> Fixed:
    """Apply all applicable fixes, re-checking after every pass, to a fixed point."""
    selected = tuple(rules)

    def look(at: Source) -> Analysis:
        return analyse(at, selected, settings, package)

    state = Fixed(source, look(source))
    banned: set[tuple[str, str]] = set()
    for _ in range(PASSES):
        chosen = _chosen(state, settings, banned)
        if not chosen:
            break
        text = _applied(state, chosen, banned)
        if text is None:
            continue
        state.source = replace(state.source, text=text)
        state.analysis = look(state.source)
    return state


def _key(report: Reported, source: Source) -> tuple[str, str]:
    """A finding by its rule and the whole rows it stands in: offsets move from pass to pass."""
    span = report.finding.span
    first = source.row_span(source.row(span.start))
    last = source.row_span(source.row(span.end))
    return report.rule.code, source.slice(Span(first.start, last.end))


def _chosen(
    state: Fixed, settings: Settings, banned: set[tuple[str, str]]
) -> list[tuple[Reported, Patch]]:
    """The fixes of one pass: in source order, those that touch an earlier one wait."""
    chosen: list[tuple[Reported, Patch]] = []
    for report in state.analysis.reports:
        if not applicable(report, settings) or _key(report, state.source) in banned:
            continue
        try:
            patch = patch_of(report)
        except Exception as error:  # one broken fix must not take the others with it
            banned.add(_key(report, state.source))
            state.errors.append(crash(report.rule, "fix", error))
            continue
        taken = [edit for _, held in chosen for edit in held.edits]
        if patch is not None and patch.edits and not clash(patch.edits, taken):
            chosen.append((report, patch))
    return chosen


def _applied(
    state: Fixed, chosen: list[tuple[Reported, Patch]], banned: set[tuple[str, str]]
) -> bytes | None:
    """The text with the chosen fixes made, or None where each of them would break it."""
    text = _edited(state, [patch for _, patch in chosen])
    if text is not None:
        state.applied.update(report.rule.code for report, _ in chosen)
        return text
    kept: list[tuple[Reported, Patch]] = []
    for report, patch in chosen:
        if _edited(state, [held for _, held in kept] + [patch]) is None:
            banned.add(_key(report, state.source))
            state.withdrawn.append(_withdrawn(report))
        else:
            kept.append((report, patch))
    if not kept:
        return None
    state.applied.update(report.rule.code for report, _ in kept)
    return _edited(state, [patch for _, patch in kept])


def _edited(state: Fixed, patches: list[Patch]) -> bytes | None:
    assert state.analysis.facts is not None
    try:
        text = apply(state.source.text, with_imports(patches, state.analysis.facts))
    except ValueError:
        return None
    if text == state.source.text or not keeps_syntax(state.source, text):
        return None
    return text


def _withdrawn(report: Reported) -> Reported:
    broken = report.rule
    title = report.plan.title if isinstance(report.plan, Plan) else broken.name
    message = (
        f"The fix of {broken.code} ({broken.name}: {title}) would have broken the syntax and was "
        "withdrawn; please report it"
    )
    return Reported(by_code()["CUE004"], Finding("CUE004", report.finding.span, message))
