"""The scorer's arithmetic, the programs' marks, and the bar that the linter is held to."""

from __future__ import annotations

import ast

import pytest

from .__main__ import PROGRAMS
from .judge import RULES, judge, labels, programs
from .marks import Labels, Spot, read, strip
from .score import score, total


def spots(*places: tuple[int, str]) -> frozenset[Spot]:
    return frozenset(Spot("a.py", line, code) for line, code in places)


def test_marks_are_read_by_line_and_kind():
    text = (
        "x = 1\n"
        "y = x.item()  # expect: CUS001\n"
        "z = 3  # silent: CUS004 a number, CUD001 is only prose here\n"
        "k<<<1, 1>>>();  // expect: CUK007, CUK001  # silent: CUK002\n"
        "a()  # either: CUP002 an import\n"
    )
    assert read("a.py", text) == Labels(
        spots((2, "CUS001"), (4, "CUK007"), (4, "CUK001")),
        spots((3, "CUS004"), (4, "CUK002")),
        spots((5, "CUP002")),
    )


def test_marks_and_the_blanks_before_them_go_and_lines_stay():
    text = (
        "y = x.item()  # expect: CUS001\r\nz = 3 # kept  # silent: CUS004 why\nw // expect: CUK001"
    )
    assert strip(text) == "y = x.item()\r\nz = 3 # kept\nw"


@pytest.mark.parametrize("line", ["x  # expect CUS001", "x  # Expect: CUS001", "x  # silent: CU1"])
def test_a_mark_that_is_almost_one_is_an_error(line):
    with pytest.raises(ValueError, match="cannot be read"):
        read("a.py", line)


def test_a_spot_has_one_label():
    with pytest.raises(ValueError, match="two ways"):
        read("a.py", "x  # expect: CUS001  # silent: CUS001 why")


def test_recall_and_precision_by_rule():
    labelled = Labels(
        expect=spots((1, "CUS001"), (2, "CUS001"), (3, "CUS001"), (4, "CUS001")),
        silent=spots((5, "CUS001"), (6, "CUS001"), (7, "CUS004")),
        either=spots((8, "CUS001")),
    )
    found = spots((1, "CUS001"), (2, "CUS001"), (3, "CUS001"), (5, "CUS001"), (8, "CUS001"))
    scores = score([labelled], [*found, Spot("a.py", 9, "CUS001"), Spot("a.py", 9, "CUD001")])
    one = scores["CUS001"]
    assert (one.labelled, len(one.found), len(one.missed)) == (4, 3, 1)
    assert (one.lookalikes, one.false_alarms) == (2, 2)
    assert (one.recall, one.precision) == (0.75, 0.6)
    assert (scores["CUS004"].lookalikes, scores["CUS004"].false_alarms) == (1, 0)
    assert (scores["CUS004"].recall, scores["CUS004"].precision) == (1.0, 1.0)
    assert (scores["CUD001"].labelled, scores["CUD001"].precision) == (0, 0.0)
    whole = total(scores)
    assert (whole.labelled, whole.lookalikes, whole.false_alarms) == (4, 3, 3)


def test_a_finding_off_its_line_is_a_miss_and_a_false_alarm():
    scores = score([Labels(spots((3, "CUF001")), frozenset(), frozenset())], spots((4, "CUF001")))
    assert (scores["CUF001"].recall, scores["CUF001"].precision) == (0.0, 0.0)


@pytest.mark.parametrize("path", programs(PROGRAMS), ids=lambda path: path.name)
def test_programs_are_valid_and_labelled(path):
    text = path.read_text("utf-8")
    assert any(read(path.name, text)), "a program without a label measures nothing"
    assert {spot.code for kind in read(path.name, text) for spot in kind} <= set(RULES)
    if path.suffix == ".py":
        ast.parse(strip(text))


def test_the_set_is_large_and_half_of_it_looks_alike():
    every = labels(PROGRAMS, RULES)
    firing = [spot for one in every for spot in one.expect]
    silent = [spot for one in every for spot in one.silent]
    assert len(firing) >= 160 and len(silent) >= len(firing)
    for code in RULES:
        assert sum(spot.code == code for spot in firing) >= 4, code
        assert sum(spot.code == code for spot in silent) >= 4, code


def test_the_linter_reaches_the_bar():
    whole = total(judge(PROGRAMS).scores)
    assert whole.recall >= 0.9, whole.missed
    assert whole.precision >= 0.95, whole.fooled + whole.extra
