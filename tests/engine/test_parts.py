"""Trees of single definitions: what is found in a whole file is found by a look at its parts."""

from __future__ import annotations

import pytest

from cudalint import engine
from cudalint.diagnostics import diagnostics
from cudalint.facts.python import PythonFacts
from cudalint.facts.trees import NeedsWhole, Parts
from cudalint.model import Diagnostic, PackageFacts, Source
from cudalint.settings import Settings
from tests.harness.linting import found, settings_for
from tests.harness.programs import Case, Program, cases, programs

PROGRAMS = [program for program in programs() if not program.is_cuda]
FIRING = [case for case in cases() if case.language == "python" and case.block.expected]
TEXT = b'''"""A module.

def not_a_definition():
"""

import torch
from torch import nn as layers

SCALE = 2.0


@torch.no_grad()
def double(x):
    """Twice x.

from here on
    """
    return x * SCALE


class Net(layers.Module):
    def forward(self, x):
        return double(x)


if torch.cuda.is_available():
    SCALE = 3.0
'''


def parts(text: bytes) -> tuple[PythonFacts, Parts]:
    """The facts of a text by its parts."""
    source = Source("a.py", text)
    facts = PythonFacts(source, Settings.selecting("CUS001"), PackageFacts())
    facts.trees = made = Parts(source)
    return facts, made


@pytest.mark.parametrize("case", FIRING, ids=lambda case: case.id)
def test_what_fires_is_not_silent_by_its_parts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LONG", 0)
    assert found(case.block.text, case.codes) == case.block.expected


def said(text: str, codes: tuple[str, ...], config: str) -> tuple[Diagnostic, ...]:
    """What is said of a program where the edits of its fixes are not asked for."""
    settings, source = settings_for(codes, config), Source("before.py", text.encode())
    analysis = engine.analyse(source, settings.rules, settings, PackageFacts(), edited=False)
    assert not analysis.errors, analysis.errors
    return diagnostics(analysis, settings, edits=False)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.id)
def test_parts_say_what_the_whole_says(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    config = program.options.get("config", "")
    whole = said(program.before.text, program.codes, config)
    monkeypatch.setattr(engine, "LONG", 0)
    assert said(program.before.text, program.codes, config) == whole


@pytest.mark.parametrize("case", FIRING, ids=lambda case: case.id)
def test_parts_of_a_case_say_what_the_whole_says(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = said(case.block.text, case.codes, "")
    monkeypatch.setattr(engine, "LONG", 0)
    assert said(case.block.text, case.codes, "") == whole


def test_names_are_those_of_the_whole_file() -> None:
    facts, _ = parts(TEXT)
    owner = next(facts.identifiers("layers", inside=facts.at(TEXT.index(b"class"), len(TEXT) - 90)))
    assert facts.names.qualified(owner) == "torch.nn"
    call = next(node for node in facts.calls("double"))
    definition = facts.names.definition(call.children[0])
    assert definition is not None
    assert facts.code(definition).startswith("def double(x):")
    assert facts.code(definition).endswith("return x * SCALE")
    read = list(facts.identifiers("SCALE"))[1]
    found = facts.names.lookup(read)
    assert found is not None
    assert [facts.source.row(binding.node.start_byte) for binding in found[1]] == [8, 26]


def test_a_large_table_is_parsed_when_its_name_is_asked_for() -> None:
    rows = b"".join(b"    f(%d),\n" % number for number in range(4_000))
    facts, made = parts(
        b"import torch\n\n\ndef f(x):\n    return x\n\n\nTABLE: list = [\n"
        + rows
        + b"]\nlast = 1\n"
    )
    assert facts.names.module.bindings.get("last", [])[0].kind == "assign"
    assert list(made.parsed) == [-1]
    bound = facts.names.module.bindings.get("TABLE", [])
    assert [binding.kind for binding in bound] == ["assign"]
    assert bound[0].value is not None
    assert len(bound[0].value.named_children) == 4_000


def test_only_definitions_that_are_asked_for_are_parsed() -> None:
    facts, made = parts(TEXT)
    next(facts.identifiers("forward"))
    assert list(made.parsed) == [1]


@pytest.mark.parametrize("text", [b"x = (\n\n\ndef f():\n    pass\n", b"def f():\n    return (\n"])
def test_what_cannot_be_read_needs_the_whole_tree(text: bytes) -> None:
    facts, _ = parts(text)
    with pytest.raises(NeedsWhole):
        facts.names.module.bindings.get("f")


def test_the_root_needs_the_whole_tree() -> None:
    facts, _ = parts(TEXT)
    with pytest.raises(NeedsWhole):
        facts.root  # noqa: B018
