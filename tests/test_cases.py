"""Every block of every `cases.md`: findings match the marks both ways."""

from __future__ import annotations

from collections import Counter

import pytest

from cudalint import sieve
from cudalint.registry import by_code
from tests.harness.linting import fixed, found
from tests.harness.programs import Case, cases

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_findings_match_the_marks(case: Case) -> None:
    rows = found(case.block.text, case.codes, case.language)
    assert rows == case.block.expected
    if rows:
        assert sieve.survivors(case.block.text.encode(), [by_code()[case.codes[0]]])


@pytest.mark.parametrize("case", [c for c in CASES if c.block.expected], ids=lambda case: case.id)
def test_fix_leaves_code_that_parses_and_settles(case: Case) -> None:
    once = fixed(case.block.text, case.codes, case.language)
    twice = fixed(once.source.text.decode(), case.codes, case.language)
    assert twice.source.text == once.source.text


def test_at_least_as_many_silent_blocks_as_firing_ones() -> None:
    firing = Counter(case.codes[0] for case in CASES if case.block.expected)
    silent = Counter(case.codes[0] for case in CASES if not case.block.expected)
    assert {code: silent[code] for code in firing if silent[code] < firing[code]} == {}
