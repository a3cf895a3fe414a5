"""One file, whole: read, checked or mended, written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint import engine
from cudalint.diagnostics import diagnostics
from cudalint.read import contents, decode, encode, language_of
from cudalint.records import replace
from cudalint.report import FileResult
from cudalint.sieve import Passed

if TYPE_CHECKING:
    from cudalint.model import PackageFacts, Source
    from cudalint.registry import Rule
    from cudalint.report import Edits, Mode, Target
    from cudalint.settings import Settings


def check_file(
    target: Target,
    package: PackageFacts,
    settings: Settings,
    mode: Mode,
    edits: Edits,
    surviving: tuple[str, ...] | None = None,
    hot: tuple[int, ...] | None = None,
) -> FileResult:
    """What came of one file; a file that cannot be read or written says so in `errors`.

    `surviving`: the codes of the rules that the sieve let through, where it was asked already.
    `hot`: where it found that code may run every step, in the bytes of the file.
    """
    try:
        source = _read(target, settings)
    except OSError as error:
        return FileResult(target.path, errors=(f"cannot be read: {error.strerror or error}",))
    if source.problem is not None and target.explicit:
        return _result(source, None, errors=(source.problem,))
    rules = settings.rules_for(target.path)
    if mode in ("fix", "diff"):
        return _mended(target, source, rules, package, settings, mode, edits)
    passed = None
    if surviving is not None:
        same = source.encoding == "utf-8" and not source.bom  # else the places are others
        passed = Passed(tuple(r for r in rules if r.code in surviving), hot if same else None)
    shown = edits == "shown"
    analysis = engine.analyse(
        source, rules, settings, package, passed, edited=shown or mode == "add-noqa"
    )
    if mode == "add-noqa":
        return _annotated(target, source, analysis)
    found = diagnostics(analysis, settings, edits=shown)
    text = source.text if found and shown else None
    return _result(source, text, diagnostics=found, errors=tuple(analysis.errors))


def _read(target: Target, settings: Settings) -> Source:
    data = target.content
    if data is None:
        data, _ = contents(target.path)
    language = language_of(target.path, data, settings.extension)
    if language is None:
        language = "cuda" if b"__global__" in data else "python"
    return decode(target.path, data, language)


def _result(source: Source, text: bytes | None, **more: object) -> FileResult:
    return FileResult(source.path, text, encoding=source.encoding, bom=source.bom, **more)  # type: ignore[arg-type]


def _mended(
    target: Target,
    source: Source,
    rules: tuple[Rule, ...],
    package: PackageFacts,
    settings: Settings,
    mode: Mode,
    edits: Edits,
) -> FileResult:
    from cudalint.fixing import fix

    fixed = fix(source, rules, settings, package)
    reports = (*fixed.analysis.reports, *fixed.withdrawn)
    analysis = replace(fixed.analysis, reports=reports)
    found = diagnostics(analysis, settings, edits=edits == "shown")
    errors = [*fixed.errors, *analysis.errors]
    new_text = fixed.source.text if fixed.applied else None
    if new_text is not None and mode == "fix" and target.content is None:
        problem = _write(target.path, source, new_text)
        if problem:
            return _result(source, source.text, errors=(*errors, problem))
    shown = source.text if mode == "diff" else fixed.source.text if edits == "shown" else None
    return _result(
        source,
        shown,
        diagnostics=found,
        fixed=dict(fixed.applied),
        new_text=new_text,
        errors=tuple(errors),
    )


def _annotated(target: Target, source: Source, analysis: engine.Analysis) -> FileResult:
    from cudalint.annotate import annotated

    errors = list(analysis.errors)
    text, counts = annotated(analysis)
    if counts and source.problem is not None:
        return _result(source, None, errors=(*errors, f"not annotated: {source.problem}"))
    if counts and target.content is None:
        problem = _write(target.path, source, text)
        if problem:
            return _result(source, None, errors=(*errors, problem))
    new_text = text if counts else None
    return _result(source, source.text, fixed=counts, new_text=new_text, errors=tuple(errors))


def _write(path: str, source: Source, text: bytes) -> str:
    """Write a file; what went wrong, or nothing."""
    from cudalint.rewrite.files import write

    try:
        write(path, encode(source, text))
    except UnicodeEncodeError as error:
        return f"not written: the file's encoding {source.encoding!r} lacks {error.object!r}"
    except OSError as error:
        return f"cannot be written: {error.strerror or error}"
    return ""
