"""One source in, its diagnostics out: sieve, facts, checks, suppressions, plans of fixes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from cudalint.look import Look, for_strings, suppresses
from cudalint.model import Edit, Finding, PackageFacts, Patch, Plan, Refusal, Source, Span
from cudalint.records import field, record
from cudalint.registry import Rule, by_code
from cudalint.suppress import Problem, Suppression, holds_none, problems, suppressions, without

if TYPE_CHECKING:
    from cudalint.facts import Facts
    from cudalint.settings import Settings
    from cudalint.sieve import Passed


# CPython refuses more than 200 nested brackets, clang more than 256.
_BRACKETS = bytes.maketrans(b"[{", b"((")
_TOO_DEEP = b"(" * 201
# From so many bytes on definitions are asked before the whole tree is made. From 0 to 60,000 it makes
# little difference: 1 % of all instructions over torchtune and over torch.distributed.
LONG = 20_000


@record(frozen=True)
class Reported:
    """A finding with the rule that made it and what is known of its fix.

    `plan` is None for advice. `own` holds the edits of our own rules, which need no plan.
    """

    rule: Rule
    finding: Finding
    plan: Plan | Refusal | None = None
    own: Patch | None = None

    @property
    def safety(self) -> str | None:
        """How safe the fix is, or None where there is none."""
        if self.own is not None:
            return "safe"
        return self.plan.safety if isinstance(self.plan, Plan) else None


@record(frozen=True)
class Analysis:
    """What one source gave: reports in source order, and the rules that crashed on it."""

    source: Source
    facts: Facts | None
    reports: tuple[Reported, ...]
    errors: list[str] = field(default_factory=list)


def analyse(
    source: Source,
    rules: Iterable[Rule],
    settings: Settings,
    package: PackageFacts,
    passed: Passed | None = None,
    *,
    edited: bool = True,
) -> Analysis:
    """Check a source with the rules given; nothing is parsed where none can fire.

    `passed` is what the sieve left of them, where it was asked already (see `Look`). `edited`: the
    edits of fixes may be asked for.
    """
    given, text, language = tuple(rules), source.text, source.language
    selected = tuple(rule for rule in given if language in rule.languages)
    passed = passed or Look(text, language, given, settings).passed
    surviving = passed.rules
    holds = text.__contains__
    asked = suppresses(text, language, selected, settings, holds) or (
        language == "python" and bool(for_strings(text, given, holds))
    )
    if not surviving and not asked:
        return Analysis(source, None, ())
    if _TOO_DEEP in text.translate(_BRACKETS):
        return Analysis(source, None, (), ["not checked: brackets nested more than 200 deep"])
    if not asked and language == "python" and len(text) >= LONG:
        made = _by_parts(facts_of(source, settings, package, passed.hot), surviving, edited)
        if isinstance(made, Analysis):
            return made
        surviving = made
    facts = facts_of(source, settings, package, passed.hot)
    errors: list[str] = []
    reports = [Reported(rule, f) for rule in surviving for f in _findings(rule, facts, errors)]
    if not settings.ignore_noqa:
        reports = _unsuppressed(facts, reports, selected, not errors)
    reports = [_planned(report, facts, errors) for report in reports]
    reports += _in_strings(facts, given, errors)
    return Analysis(source, facts, _ordered(reports), errors)


def _by_parts(facts: Facts, rules: tuple[Rule, ...], edited: bool) -> Analysis | tuple[Rule, ...]:
    """What the definitions show that rules look at; where that is not enough, for which rules.

    A look at few definitions costs less than the tree of a long file, which edits need.
    """
    from cudalint.facts.trees import Parts

    facts.trees = Parts(facts.source)
    reports: list[Reported] = []
    kept: list[Rule] = []
    errors: list[str] = []
    for at, rule in enumerate(rules):
        try:
            found = list(islice(_distinct(rule, facts), 1 if edited else None))
        except Exception:  # it needs the whole tree, or will crash there too
            return (*kept, *rules[at:])  # facts may be half made
        if found:
            kept.append(rule)
            reports += [Reported(rule, finding) for finding in found]
    if kept and (edited or not (facts.settings.ignore_noqa or holds_none(facts.text))):
        return tuple(kept)
    planned = [_planned(report, facts, errors) for report in reports]
    return tuple(kept) if errors else Analysis(facts.source, facts, _ordered(planned))


def _in_strings(facts: Facts, rules: tuple[Rule, ...], errors: list[str]) -> list[Reported]:
    """Findings in the CUDA sources that a Python file holds in strings; they are not rewritten."""
    if facts.source.language != "python":
        return []
    surviving = for_strings(facts.text, rules, facts.text.__contains__)
    if not surviving:
        return []
    from cudalint.facts.embedded import embedded
    from cudalint.facts.python import PythonFacts

    assert isinstance(facts, PythonFacts)
    source = embedded(facts)
    if source is None:
        return []
    inner = facts_of(source, facts.settings, facts.package)
    reports = [Reported(rule, f) for rule in surviving for f in _findings(rule, inner, errors)]
    if not facts.settings.ignore_noqa:
        reports = _unsuppressed(inner, reports, [], whole=False)
    refusal = Refusal("the source stands in a Python string")
    return [r if r.rule.fix is None else Reported(r.rule, r.finding, refusal) for r in reports]


def facts_of(
    source: Source,
    settings: Settings,
    package: PackageFacts,
    hot: tuple[int, ...] | None = None,
) -> Facts:
    """The facts of a source in its language; nothing is computed yet."""
    if source.language == "cuda":
        from cudalint.facts.cuda import CudaFacts

        return CudaFacts(source, settings, package)
    from cudalint.facts.python import PythonFacts

    facts = PythonFacts(source, settings, package)
    facts.hot = hot
    return facts


def _ordered(reports: list[Reported]) -> tuple[Reported, ...]:
    return tuple(sorted(reports, key=lambda report: (report.finding.span, report.rule.code)))


def _distinct(rule: Rule, facts: Facts) -> Iterator[Finding]:
    seen: set[Span] = set()
    for finding in rule.load_check().check(facts):
        if finding.span not in seen:
            seen.add(finding.span)
            yield finding


def _findings(rule: Rule, facts: Facts, errors: list[str]) -> Iterator[Finding]:
    try:
        yield from _distinct(rule, facts)
    except Exception as error:  # one broken rule must not take the others with it
        errors.append(crash(rule, "check", error))


def crash(rule: Rule, step: str, error: Exception) -> str:
    """A bug of ours in one sentence: which rule, in which step, where."""
    where = ""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        name = trace.tb_frame.f_code.co_filename.rpartition("cudalint/")[2]
        where = f" ({name}:{trace.tb_lineno})"
    kind = type(error).__name__
    return f"{rule.code} {rule.name} failed in its {step}: {kind}: {error}{where}"


def _unsuppressed(
    facts: Facts, reports: list[Reported], selected: Iterable[Rule], whole: bool
) -> list[Reported]:
    """The reports that no comment hides, and those about comments that are of no use."""
    found = suppressions(facts)
    if not found:
        return reports
    kept = []
    for report in reports:
        row = facts.source.row(report.finding.span.start)
        # every directive is asked, so that each that hides something counts as used
        if not any([suppression.hides(report.rule, row) for suppression in found]):
            kept.append(report)
    on = {rule.code for rule in selected}
    for problem in problems(found, selected) if whole else ():
        if problem.rule in on:
            kept.append(_own_report(facts, problem, found))
    return kept


def _own_report(facts: Facts, problem: Problem, found: list[Suppression]) -> Reported:
    finding = Finding(problem.rule, problem.entry.span, problem.message)
    rule = by_code()[problem.rule]
    if problem.replacement is not None:
        edit = Edit(problem.entry.span, problem.replacement.encode())
    elif problem.rule == "CUE002":
        edit = Edit(*without(facts.text, problem.suppression, [problem.entry]))
    else:
        return Reported(rule, finding)
    return Reported(rule, finding, own=Patch((edit,)))


def _planned(report: Reported, facts: Facts, errors: list[str]) -> Reported:
    if facts.source.problem is not None or not facts.settings.fixable(report.rule):
        return Reported(report.rule, report.finding)
    if report.rule.by_engine:
        return report
    try:
        fixer = report.rule.load_fix()
        if fixer is None:
            return report
        plan = fixer.plan(report.finding, facts)
    except Exception as error:
        errors.append(crash(report.rule, "fix", error))
        return report
    return Reported(report.rule, report.finding, plan)


def patch_of(report: Reported) -> Patch | None:
    """The edits of a report's fix, its imports still to be merged."""
    if report.own is not None:
        return report.own
    if not isinstance(report.plan, Plan):
        return None
    fixer = report.rule.load_fix()
    return None if fixer is None else fixer.write(report.plan)
