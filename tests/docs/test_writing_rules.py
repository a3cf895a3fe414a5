"""docs/writing-rules.md: every name exists, every table is complete, the example is a rule."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType

import pytest

import cudalint.facts
from cudalint import registry, sieve
from cudalint.facts.cuda import CudaFacts
from cudalint.facts.python import PythonFacts
from cudalint.model import PackageFacts, Source
from cudalint.settings import Settings
from tests.docs.markdown import ROOT, Section, blocks, first_cells, prose, read, sections, spans
from tests.harness.linting import fixed, found
from tests.harness.marks import Marked, strip
from tests.harness.running import assert_same, run
from tests.test_laws import SECTIONS
from tools import new_rule

TEXT = read("docs/writing-rules.md")
INNER = next(s for s in sections(TEXT) if s.title == "Inner modules")
COMPUTATIONS = next(s for s in sections(TEXT) if s.title == "Computations")


# -- names ----------------------------------------------------------------------------------------


def _names_attribute(holder: object, name: str) -> bool:
    """Whether an object has an attribute: its own, a field's, or one that methods give to `self`."""
    if hasattr(holder, name):
        return True
    if not isinstance(holder, type):
        return False
    for base in holder.__mro__[:-1]:
        slots = getattr(base, "__slots__", ())
        if name in getattr(base, "__annotations__", {}) or name in slots:
            return True
        if re.search(rf"\bself\.{name}\b *[:=]", inspect.getsource(base)):
            return True
    return False


def _resolve(path: str) -> object:
    """The module or its member that a dotted path names; fails where there is none."""
    parts = path.split(".")
    holder: object = importlib.import_module(parts[0])
    for index, part in enumerate(parts[1:], 2):
        if isinstance(holder, ModuleType) and not hasattr(holder, part):
            holder = importlib.import_module(".".join(parts[:index]))
            continue
        assert _names_attribute(holder, part), f"{path}: no {part}"
        holder = getattr(holder, part, None)
    return holder


def _dotted(root: str) -> list[str]:
    pattern = re.compile(rf"(?<![\w./]){root}(?:\.[A-Za-z_]\w*)+")
    return sorted({path for span in spans(prose(TEXT)) for path in pattern.findall(span)})


@pytest.mark.parametrize("path", _dotted("cudalint"))
def test_names_of_the_package_exist(path: str) -> None:
    _resolve(path)


@pytest.mark.parametrize("path", _dotted("facts"))
def test_facts_exist(path: str) -> None:
    """`facts.loops.hot` is asked of real facts, of either language."""
    settings, package = Settings(), PackageFacts()
    candidates: list[object] = [
        PythonFacts(Source("a.py", b""), settings, package),
        CudaFacts(Source("a.cu", b"", "cuda"), settings, package),
    ]
    for part in path.split(".")[1:]:
        candidates = [getattr(one, part) for one in candidates if hasattr(one, part)]
        assert candidates, f"{path}: no {part}"


def _subject(section: Section) -> object | None:
    """The module or class that a section of the reference is about."""
    named = re.match(r"`(cudalint\.[\w.]+)`", section.title)
    return _resolve(named[1]) if named else None


REFERENCE = [section for section in sections(TEXT) if _subject(section) is not None]


@pytest.mark.parametrize("section", REFERENCE, ids=lambda section: section.title)
def test_what_a_table_lists_is_there(section: Section) -> None:
    """Names in the first column belong to the section's subject, with these parameters."""
    subject = _subject(section)
    listed = [span for cell in first_cells(section.own) for span in spans(cell)]
    if isinstance(subject, type):
        assert listed or not _public(subject), "a class without a table"
    for span in listed:
        name, _, given = span.partition("(")
        assert _names_attribute(subject, name), f"{section.title}: {name}"
        if given:
            _check_parameters(getattr(subject, name), given.rstrip(")"), span)


def _check_parameters(function: object, given: str, span: str) -> None:
    """The parameters are the first ones of the function, and the others may be left out."""
    assert callable(function), span
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    names = [name.strip() for name in given.split(",") if name.strip()]
    assert names == [p.name for p in parameters[: len(names)]], span
    rest = parameters[len(names) :]
    assert all(p.default is not p.empty or p.kind in (2, 4) for p in rest), span


def test_computations_are_where_they_are_said_to_be() -> None:
    """What the second column calls is a function of the module in the first."""
    for row in (line for line in COMPUTATIONS.text.splitlines() if line.startswith("| `")):
        cells = row.split("|")
        module = _resolve(spans(cells[1])[0])
        for span in spans(cells[2]):
            name, bracket, given = span.partition("(")
            if bracket:
                _check_parameters(getattr(module, name), given.rstrip(")"), span)


# -- completeness ---------------------------------------------------------------------------------


def _public(holder: type) -> list[str]:
    """The public methods and properties that a class defines itself."""
    kinds = (property, cached_property, staticmethod, classmethod)
    return [
        name
        for name, member in vars(holder).items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, kinds))
    ]


def _modules() -> list[str]:
    found = pkgutil.walk_packages(cudalint.facts.__path__, "cudalint.facts.")
    return ["cudalint.facts", *(module.name for module in found)]


def _inner_modules() -> set[str]:
    """The modules of the table of inner ones; names after the first are its siblings."""
    found = set()
    for cell in (*first_cells(INNER.text), *first_cells(COMPUTATIONS.text)):
        first, *others = spans(cell)
        package = first.rpartition(".")[0]
        found |= {first, *(f"{package}.{other}" for other in others)}
    return found


def _headed() -> dict[str, Section]:
    named = (re.match(r"`(cudalint\.facts[\w.]*)`", section.title) for section in REFERENCE)
    pairs = zip(named, REFERENCE, strict=True)
    return {match[1]: section for match, section in pairs if match}


MODULES = _modules()
HEADED = _headed()


def test_every_module_of_facts_is_in_the_document() -> None:
    described = {_module_of(path) for path in HEADED} | _inner_modules()
    missing = sorted(set(MODULES) - described)
    assert not missing, f"describe in docs/writing-rules.md: {', '.join(missing)}"


def _words(text: str) -> set[str]:
    """Every word in the code spans of a text."""
    return {word for span in spans(text) for word in re.findall(r"\w+", span)}


def _module_of(path: str) -> str:
    return path if path in MODULES else path.rpartition(".")[0]


@pytest.mark.parametrize("path", sorted(HEADED))
def test_every_public_name_is_described(path: str) -> None:
    """Functions and classes in their module's section, methods in their class's."""
    subject = _resolve(path)
    if isinstance(subject, type):
        named, public = _words(HEADED[path].text), _public(subject)
    else:
        inside = {other: s for other, s in HEADED.items() if _module_of(other) == path}
        named = {
            word for other, s in inside.items() for word in (*_words(s.text), *other.split("."))
        }
        public = [
            name
            for name, member in vars(subject).items()
            if (inspect.isfunction(member) or inspect.isclass(member))
            and not name.startswith("_")
            and member.__module__ == path
        ]
    missing = sorted(set(public) - named)
    assert not missing, f"describe in docs/writing-rules.md: {path}: {', '.join(missing)}"


# -- the example ----------------------------------------------------------------------------------


def _example() -> dict[str, str]:
    """The blocks of the example by the path that the paragraph before them names."""
    found = {}
    for block in blocks(TEXT):
        named = [span for span in spans(block.before) if "/" in span]
        if len(named) == 1:
            found[named[0]] = block.text
    return found


EXAMPLE = _example()
NAME = "empty-cache-in-step-loop"
MODULE = "memory.empty_cache_in_step_loop"
CODES = ("CUM003",)


@pytest.fixture
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Rule]:
    """The example's rule in the registry, in the place of one that has its code."""
    for kind in ("checks", "fixes"):
        text = EXAMPLE[f"cudalint/{kind}/{MODULE.replace('.', '/')}.py"]
        path = tmp_path / f"{kind}.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(f"cudalint.{kind}.{MODULE}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    line = EXAMPLE["cudalint/registry.py"].strip().rstrip(",")
    made: registry.Rule = eval(line, vars(registry))
    others = tuple(other for other in registry.RULES if other.code != made.code)
    monkeypatch.setattr(registry, "RULES", (*others, made))
    registry.by_code.cache_clear()
    registry.by_name.cache_clear()
    yield made
    registry.by_code.cache_clear()
    registry.by_name.cache_clear()


def _program() -> tuple[Marked, str]:
    return (
        strip(EXAMPLE[f"fixtures/{NAME}/before.py"]),
        EXAMPLE[f"fixtures/{NAME}/after.py"],
    )


def test_the_example_finds_what_is_marked(rule: registry.Rule) -> None:
    before, after = _program()
    assert before.expected and found(before.text, CODES) == before.expected
    assert found(after, CODES) == []
    assert sieve.survivors(before.text.encode(), [rule])


def test_the_example_fixes_what_it_finds(rule: registry.Rule) -> None:
    before, after = _program()
    assert fixed(before.text, CODES).source.text.decode() == after
    assert fixed(after, CODES).source.text.decode() == after


def test_the_example_computes_the_same(tmp_path: Path) -> None:
    before, after = _program()
    (tmp_path / "before.py").write_text(before.text, encoding="utf-8")
    (tmp_path / "after.py").write_text(after, encoding="utf-8")
    one, other = (run(tmp_path / name, "cpu") for name in ("before.py", "after.py"))
    assert_same(one, other, None)


def test_the_cases_of_the_example(rule: registry.Rule) -> None:
    firing = silent = 0
    for block in blocks(EXAMPLE[f"fixtures/{NAME}/cases.md"]):
        case = strip(block.text)
        assert found(case.text, CODES) == case.expected
        once = fixed(case.text, CODES).source.text.decode()
        assert fixed(once, CODES).source.text.decode() == once
        firing, silent = firing + bool(case.expected), silent + (not case.expected)
    assert silent >= firing > 0


def test_the_page_of_the_example(rule: registry.Rule) -> None:
    headings = re.findall(r"^## (.*)$", rule.load_check().__doc__, re.MULTILINE)
    assert headings == list(SECTIONS)
    finding_codes = re.findall(
        r'rule="(\w+)"', EXAMPLE[f"cudalint/checks/{MODULE.replace('.', '/')}.py"]
    )
    assert finding_codes == [rule.code]


def test_the_skeleton_is_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "catalogue.txt", tmp_path / "tests")
    monkeypatch.setattr(new_rule, "ROOT", tmp_path)
    monkeypatch.setattr(new_rule, "by_name", dict)
    assert new_rule.main(NAME) == 0
    shown = next(b.text for b in blocks(TEXT) if b.language == "console")
    command, _, output = shown.partition("\n")
    assert command == f"$ python -m tools.new_rule {NAME}"
    assert capsys.readouterr().out == output
