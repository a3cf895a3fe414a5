"""Many files: read and sieved first, checked once their packages' facts are known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cudalint import package
from cudalint.package import Bits
from cudalint.read import contents, decode, language_of
from cudalint.records import NamedTuple, replace
from cudalint.report import FileResult, Report
from cudalint.workers import Workers

if TYPE_CHECKING:
    from cudalint.cache import Cache
    from cudalint.model import Diagnostic, PackageFacts
    from cudalint.report import Edits, Mode, Progress, Target
    from cudalint.settings import Settings

ENOUGH_TO_READ = 400  # files, from which reading them in several processes pays
ENOUGH_TO_CHECK = 60  # survivors, from which checking them in several processes pays
READ_AT_ONCE = 64
CHECK_AT_ONCE = 4


class Sifted(NamedTuple):
    """What the first look at a file gave.

    `survives`: it must be parsed; `surviving`: the codes of the rules that may fire, None where a
    cache knows only that some may; `hot`: where code may run every step, see `sieve.Passed`.
    """

    size: int = 0
    mtime_ns: int = 0
    digest: str = ""
    bits: Bits = Bits()
    survives: bool = False
    surviving: tuple[str, ...] | None = None
    hot: tuple[int, ...] | None = None
    error: str = ""


def run(
    targets: Sequence[Target],
    settings: Settings,
    *,
    mode: Mode = "check",
    edits: Edits = "none",
    jobs: int | None = None,
    cache_dir: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check or mend all targets under one configuration; results come in the order of targets."""
    cache = _cache(cache_dir, settings, edits) if cache_dir else None
    work = partial(_work, settings=settings, mode=mode, edits=edits)
    with Workers(jobs, partial(_prepare, settings)) as workers:
        sifted = _sift_all(targets, settings, cache, workers)
        facts = _package_facts(targets, sifted, cache)
        results: dict[str, FileResult] = {}
        tasks = []
        for target, found in zip(targets, sifted, strict=True):
            if found.error:
                results[target.path] = FileResult(target.path, errors=(found.error,))
            elif found.survives:
                known = _known(target, found, facts, cache) if mode == "check" else None
                if known is None:
                    passed = (found.surviving, found.hot)
                    tasks.append((found.size, target, facts[_root(target)], *passed))
                elif known and edits == "none":
                    results[target.path] = FileResult(target.path, diagnostics=known)
                elif known:
                    results[target.path] = _with_source(target, known, settings)
        tasks.sort(key=lambda task: -task[0])  # the largest first, so that no worker ends late
        pool_tasks = [task[1:] for task in tasks]
        done = len(targets) - len(pool_tasks)
        for result in workers.map(work, pool_tasks, CHECK_AT_ONCE, ENOUGH_TO_CHECK):
            results[result.path] = result
            done += 1
            if progress is not None:
                progress(done, len(targets))
    if cache is not None:
        _remember(cache, targets, sifted, facts, results, mode)
    order = [target.path for target in targets]
    return Report(len(targets), tuple(results[p] for p in order if _says(results.get(p))))


def _prepare(settings: Settings) -> None:
    """Load what checking files needs (80 ms), so that processes that fork from here have it."""
    import cudalint.facts.graph.graphs
    import cudalint.facts.loops
    import cudalint.facts.tensors
    import cudalint.single  # noqa: F401

    for rule in settings.rules:
        if not rule.by_engine:
            rule.load_check()


def _cache(folder: str, settings: Settings, edits: Edits) -> Cache:
    from cudalint.cache import Cache  # hashing is loaded where a cache is kept

    return Cache(folder, settings, edits == "shown")


def _says(result: FileResult | None) -> bool:
    if result is None:
        return False
    return bool(result.diagnostics or result.errors or result.fixed or result.new_text is not None)


# -- first look -----------------------------------------------------------------------------------


def _sift_all(
    targets: Sequence[Target], settings: Settings, cache: Cache | None, workers: Workers
) -> list[Sifted]:
    """The first look at every target, from the cache where the file is as it was."""
    if cache is None:
        look = partial(_sift, settings=settings, digest=False)
        return list(workers.map(look, targets, READ_AT_ONCE, ENOUGH_TO_READ))
    found: list[Sifted | None] = [_recalled(target, cache) for target in targets]
    missing = [i for i, known in enumerate(found) if known is None]
    look = partial(_sift, settings=settings, digest=True)
    fresh = workers.map(look, [targets[i] for i in missing], READ_AT_ONCE, ENOUGH_TO_READ)
    for i, made in zip(missing, fresh, strict=True):
        found[i] = made
    return [known for known in found if known is not None]


def _recalled(target: Target, cache: Cache) -> Sifted | None:
    raw = cache.files.get(target.path)
    if raw is None or target.content is not None:
        return None
    try:
        status = os.stat(target.path)
        if raw[0] != status.st_size or raw[1] != status.st_mtime_ns:
            return None
        return Sifted(raw[0], raw[1], raw[2], Bits(*map(bool, raw[3])), raw[4] is not None)
    except (OSError, TypeError, ValueError, IndexError):
        return None


def _sift(target: Target, settings: Settings, digest: bool) -> Sifted:
    """Read a file: its bits, and whether any rule could fire or any suppression names us."""
    from cudalint.look import Look  # a warm run looks at no file

    size = mtime_ns = 0
    try:
        if target.content is None:
            data, status = contents(target.path)
            size, mtime_ns = status.st_size, status.st_mtime_ns
        else:
            data = target.content
            size = len(data)
    except OSError as error:
        return Sifted(error=f"cannot be read: {error.strerror or error}")
    key = _digest_of(data) if digest else ""
    language = language_of(target.path, data, settings.extension)
    if language is None and target.explicit:
        language = "cuda" if b"__global__" in data else "python"
    if language is None:
        return Sifted(size, mtime_ns, key)
    hidden = data[:2] in (b"\xff\xfe", b"\xfe\xff")  # UTF-16 and 32 hide every word from the sieve
    text = decode(target.path, data, language).text if hidden else data
    look = Look(text, language, settings.rules_for(target.path), settings)
    bits = Bits()
    if language == "python":
        bits = package.bits_of(data, None if hidden else look.holds)
    if not look.must_be_parsed:
        return Sifted(size, mtime_ns, key, bits)
    passed, hot = look.passed
    return Sifted(size, mtime_ns, key, bits, True, tuple(rule.code for rule in passed), hot)


def _digest_of(data: bytes) -> str:
    from cudalint.cache import digest_of

    return digest_of(data)


# -- packages -------------------------------------------------------------------------------------


def _root(target: Target) -> str:
    return package.root_of(os.path.dirname(target.path))


def _package_facts(
    targets: Sequence[Target], sifted: Sequence[Sifted], cache: Cache | None
) -> dict[str, PackageFacts]:
    """The facts of every package that a survivor belongs to."""
    wanted = {_root(t) for t, found in zip(targets, sifted, strict=True) if found.survives}
    if not wanted:
        return {}
    seen: dict[str, list[Bits]] = {root: [] for root in wanted}
    folders = {os.path.dirname(target.path) for target in targets if not target.explicit}
    for target, found in zip(targets, sifted, strict=True):
        if (root := _root(target)) in seen:
            seen[root].append(found.bits)
    made = {root: _facts(root, bits, folders, cache) for root, bits in seen.items()}
    return {root: _in_project(root, facts) for root, facts in made.items()}


def _in_project(root: str, facts: PackageFacts) -> PackageFacts:
    """A package's facts with those of its project, which is asked where the package names no CUDA."""
    if facts.names_cuda:
        return facts
    from cudalint.project import names_cuda_around

    return replace(facts, project_names_cuda=names_cuda_around(root))


def _facts(root: str, bits: list[Bits], folders: set[str], cache: Cache | None) -> PackageFacts:
    """A package's facts: from the run where it walked the root, else from disk.

    Files that were named one by one are seldom all of their folder.
    """
    if root in folders and len(bits) > 1:
        return package.merge(root, bits)
    try:
        stamp = os.stat(root).st_mtime_ns
    except OSError:
        return package.merge(root, bits, complete=False)
    if cache is not None and (known := cache.package(root, stamp)) is not None:
        return known
    made = package.gather(root)
    if cache is not None:
        cache.put_package(root, stamp, made)
    return made


# -- second look ----------------------------------------------------------------------------------


def _known(
    target: Target, found: Sifted, facts: dict[str, PackageFacts], cache: Cache | None
) -> tuple[Diagnostic, ...] | None:
    """What the cache knows of a file, if its content and its package's facts are the same."""
    entry = None if cache is None or target.content is not None else cache.get(target.path)
    if entry is None or entry.digest != found.digest or entry.package != facts[_root(target)]:
        return None
    return entry.diagnostics


def _with_source(target: Target, known: tuple[Diagnostic, ...], settings: Settings) -> FileResult:
    """A cached result with the text that its spans refer to."""
    data, _ = contents(target.path)
    source = decode(
        target.path, data, language_of(target.path, data, settings.extension) or "python"
    )
    return FileResult(target.path, source.text, known, encoding=source.encoding, bom=source.bom)


def _work(
    task: tuple[Target, PackageFacts, tuple[str, ...] | None, tuple[int, ...] | None],
    settings: Settings,
    mode: Mode,
    edits: Edits,
) -> FileResult:
    from cudalint.single import check_file

    target, facts, surviving, hot = task
    return check_file(target, facts, settings, mode, edits, surviving, hot)


def _remember(
    cache: Cache,
    targets: Sequence[Target],
    sifted: Sequence[Sifted],
    facts: dict[str, PackageFacts],
    results: dict[str, FileResult],
    mode: Mode,
) -> None:
    """Keep what was found; a file that was rewritten, or on which a rule crashed, is not kept."""
    from cudalint.cache import Entry

    for target, found in zip(targets, sifted, strict=True):
        raw = cache.files.get(target.path)
        result = results.get(target.path)
        if target.content is not None or found.error or (result and result.errors):
            continue
        if mode != "check" and found.survives:
            continue
        package_facts = facts[_root(target)] if found.survives else None
        made = () if result is None else result.diagnostics
        entry = Entry(*found[:4], package_facts, made)
        if raw is None or cache.get(target.path) != entry:
            cache.put(target.path, entry)
    cache.save()
