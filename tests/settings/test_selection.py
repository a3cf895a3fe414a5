"""Which rules are on: layers, specificity, hints, and what is refused."""

from __future__ import annotations

import pickle

import pytest

from cudalint.errors import UsageError
from cudalint.globs import Pattern
from cudalint.registry import RULES, Rule, by_code
from cudalint.selection import Selection, verify
from cudalint.settings import Settings

DEFAULT = {rule.code for rule in RULES if rule.on}


def on(*layers: Selection, hints: bool = False) -> set[str]:
    return {rule.code for rule in Settings(selections=layers, hints=hints).rules}


def test_without_selectors_the_defaults_are_on() -> None:
    assert on() == DEFAULT


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Selection(select=("CUS001",)), {"CUS001"}),
        (Selection(select=("cus001",)), {"CUS001"}),
        (Selection(select=("item-in-step-loop",)), {"CUS001"}),
        (Selection(select=("CUS",)), {"CUS001", "CUS004"}),
        (Selection(select=("CUS00",)), {"CUS001", "CUS004"}),
        (Selection(select=("CUS",), ignore=("CUS004",)), {"CUS001"}),
        (Selection(select=("CUS001",), ignore=("CUS",)), {"CUS001"}),
        (Selection(select=("CUS001",), ignore=("CUS001",)), set()),
        (Selection(select=("CUS",), ignore=("ALL",)), {"CUS001", "CUS004"}),
        (Selection(select=("CUS",), extend_select=("CUP003",)), {"CUS001", "CUS004", "CUP003"}),
        (Selection(select=()), set()),
        (Selection(ignore=("ALL",)), set()),
        (Selection(ignore=("CUS",)), DEFAULT - {"CUS001", "CUS004"}),
    ],
)
def test_one_layer(layer: Selection, expected: set[str]) -> None:
    assert on(layer) == expected


def test_select_on_the_command_line_replaces_the_configuration() -> None:
    configured = Selection(select=("CUS",), ignore=("CUS001",))
    assert on(configured, Selection(select=("CUS001",))) == {"CUS001"}


def test_other_selectors_on_the_command_line_add_to_the_configuration() -> None:
    configured = Selection(select=("CUS",))
    assert on(configured, Selection(extend_select=("CUP003",), ignore=("CUS004",))) == {
        "CUS001",
        "CUP003",
    }


def severity(rule: Rule, *layers: Selection, hints: bool = False) -> str | None:
    settings = Settings(selections=layers, hints=hints)
    return settings.severity(rule) if rule in settings.rules else None


@pytest.mark.parametrize(
    ("layer", "hints", "expected"),
    [
        (Selection(), False, None),
        (Selection(), True, "hint"),
        (Selection(select=("CUL",)), False, "hint"),
        (Selection(select=("ALL",)), False, "hint"),
        (Selection(select=("CUL001",)), False, "warning"),
        (Selection(select=("uncompiled-hot-model",)), True, "warning"),
        (Selection(extend_select=("CUL001",)), False, "warning"),
        (Selection(ignore=("CUL001",)), True, None),
        (Selection(select=("CUS001",)), True, "hint"),
    ],
)
def test_a_hint_counts_when_its_code_or_name_selects_it(
    hint: Rule,
    layer: Selection,
    hints: bool,
    expected: str | None,
) -> None:
    assert severity(hint, layer, hints=hints) == expected


def test_fixable_and_unfixable() -> None:
    rule = by_code()["CUS001"]
    for layer, expected in (
        (Selection(), True),
        (Selection(unfixable=("CUS",)), False),
        (Selection(fixable=("CUP",)), False),
        (Selection(fixable=("CUP",), extend_fixable=("CUS001",)), True),
        (Selection(fixable=("ALL",), unfixable=("CUS001",)), False),
        (Selection(fixable=("CUS001",), unfixable=("ALL",)), True),
    ):
        assert Settings(selections=(layer,)).fixable(rule) is expected, layer


def test_fixable_by_name_is_by_no_prefix() -> None:
    for layer, expected in (
        (Selection(), False),
        (Selection(fixable=("ALL",)), False),
        (Selection(extend_fixable=("CUF",)), False),
        (Selection(extend_fixable=("cuf001",)), True),
        (Selection(fixable=("unfused-attention",)), True),
    ):
        assert Settings(selections=(layer,)).fixable_by_name("CUF001") is expected, layer


@pytest.mark.parametrize(
    ("selector", "near"),
    [
        ("CUS0O1", "CUS001"),
        ("item-in-step-lop", "item-in-step-loop"),
        ("Z", "cudalint rule"),
        ("", "cudalint rule"),
        ("CUZ", "CU"),
    ],
)
def test_an_unknown_selector_names_the_nearest(selector: str, near: str) -> None:
    with pytest.raises(UsageError, match="unknown rule selector") as raised:
        verify([selector], "select", "the command line")
    assert near in str(raised.value)


def test_per_file_ignores() -> None:
    settings = Settings(
        selections=(Selection(select=("CUS", "CUP003")),),
        per_file_ignores=(
            (Pattern("test_*.py", "/p"), ("CUS",)),
            (Pattern("gen/*", "/p"), ("ALL",)),
            (Pattern("!src/**.py", "/p"), ("CUP003",)),
        ),
    )

    def codes(path: str) -> set[str]:
        return {rule.code for rule in settings.rules_for(path)}

    assert codes("/p/src/a.py") == {"CUS001", "CUS004", "CUP003"}
    assert codes("/p/src/deep/test_a.py") == {"CUP003"}
    assert codes("/p/gen/deep/a.py") == set()
    assert codes("/p/a.py") == {"CUS001", "CUS004"}


def test_settings_travel_and_have_a_digest() -> None:
    settings = Settings.selecting("CUS")
    assert settings.rules  # computed values must not hinder
    copy = pickle.loads(pickle.dumps(settings))
    assert copy == settings and hash(copy) == hash(settings)
    assert copy.digest() == settings.digest()
    assert Settings.selecting("CUS001", "CUS004").digest() == settings.digest()
    assert Settings.selecting("CUS001").digest() != settings.digest()
    assert Settings(dataloader_workers=8).digest() != Settings().digest()
    assert Settings(output_format="json").digest() == Settings().digest()
