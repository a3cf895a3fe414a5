"""The format for people: place, excerpt, carets, fix as a diff."""

from __future__ import annotations

from textwrap import dedent

import pytest

from cudalint.model import Edit, Fix, Span
from cudalint.render import View, render
from cudalint.report import FileResult, Report
from tests.render.reports import (
    CWD,
    PLAIN,
    PROGRAM,
    attention,
    diagnostic,
    edit,
    item,
    one,
    replaced,
    span,
)


def full(report: Report, view: View = PLAIN) -> str:
    return render(report, "full", view)


def shown(text: str, where: Span, fix: Fix | None = None) -> list[str]:
    """The lines of a finding in a text, without the header."""
    return full(one(diagnostic(text, where, fix=fix), text)).splitlines()[1:-1]


def test_a_finding_with_its_fix() -> None:
    assert full(one(item(replaced()))) == dedent(
        """\
        CUS001 [*] item-in-step-loop: `loss.item()` waits every step
          --> a.py:12:14
           |
        11 | for step, batch in enumerate(loader):
        12 |     total += loss.item()
           |              ^^^^^^^^^^^
           |
        help: Keep the tensor
           |
        11 | for step, batch in enumerate(loader):
           -     total += loss.item()
        12 +     total += loss.detach()
           |

        """
    )


def test_several_lines_and_edits_far_apart() -> None:
    assert full(one(attention())) == dedent(
        """\
        CUF001 unfused-attention: the scores go through memory
         --> a.py:6:5
          |
        5 |   def forward(q, k, v):
        6 | /     scores = q @ k.transpose(-2, -1)
        7 | |     weights = scores.softmax(-1)
        8 | |     return weights @ v
          | |______________________^
          |
        help: Replace with `attention`
          |
          - import math
        1 | import torch
        2 + from cudalint.kernels import attention
        3 |
        4 |
        5 | def forward(q, k, v):
          -     scores = q @ k.transpose(-2, -1)
          -     weights = scores.softmax(-1)
          -     return weights @ v
        6 +     return attention(q, k, v)
          |
        note: this fix is unsafe: it is right in nearly all programs, not in all

        """
    )


def test_a_span_that_starts_within_a_line() -> None:
    text = "x = call(\n    1,\n)\n"
    assert shown(text, span(text, "call(", ")")) == [
        " --> a.py:1:5",
        "  |",
        "1 |   x = call(",
        "  |  _____^",
        "2 | |     1,",
        "3 | | )",
        "  | |_^",
        "  |",
    ]


def test_a_long_span_shows_its_head_and_its_tail() -> None:
    text = "".join(f"line{n}\n" for n in range(1, 41))
    lines = shown(text, span(text, "line5\n", "line30"))
    assert "..." in "".join(lines) and len(lines) < 25
    assert any("line5" in line for line in lines) and any("line30" in line for line in lines)
    assert not any("line18" in line for line in lines)


def test_carets_stand_under_wide_characters_and_tabs() -> None:
    text = "\tx = '日本' + y.item()\n"
    lines = shown(text, span(text, "y.item()"))
    assert lines[2] == "1 |     x = '日本' + y.item()"
    assert lines[3] == "  |" + " " * (1 + 4 + len("x = '") + 4 + len("' + ")) + "^^^^^^^^"


def test_an_empty_span_and_the_end_of_the_file_have_a_caret() -> None:
    assert shown("x\n", Span(1, 1))[3] == "  |  ^"
    assert shown("x", Span(1, 1))[3] == "  |  ^"
    assert shown("", Span(0, 0))[3] == "  | ^"


def test_a_line_too_long_for_any_terminal_is_cut_around_the_span() -> None:
    text = "a = [" + "1, " * 2000 + "x.item()" + ", 2" * 2000 + "]\n"
    lines = shown(text, span(text, "x.item()"))
    assert max(map(len, lines)) < 200
    assert lines[2][lines[3].index("^") :].startswith("x.item()")
    assert lines[2].startswith("1 | …") and lines[2].endswith("…")


def test_control_characters_never_reach_the_terminal() -> None:
    text = "x = '\x1b[31m\u202e' + y.item()\n"
    found = diagnostic(text, span(text, "y.item()"), "odd \x1b name")
    output = full(one(found, text))
    assert "\x1b" not in output and "\u202e" not in output and "␛[31m" in output


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_endings(newline: str) -> None:
    text = f"a{newline}b{newline}c{newline}"
    where = span(text, "b")
    lines = shown(text, where, Fix("safe", "t", (edit(text, "b", "d"),)))
    assert lines == [
        " --> a.py:2:1",
        "  |",
        *("1 | a", "2 | b", "  | ^", "3 | c", "  |", "help: t", "  |"),
        *("1 | a", "  - b", "2 + d", "3 | c", "  |"),
    ]


def test_inserting_at_the_end_without_a_newline() -> None:
    text = "a"
    lines = shown(text, Span(0, 1), Fix("safe", "t", (Edit(Span(1, 1), b"\nb\n"),)))
    assert lines[-3:] == ["1 | a", "2 + b", "  |"]


def test_a_fix_that_is_only_named_and_one_that_changes_nothing() -> None:
    assert shown(PROGRAM, span(PROGRAM, "loss"), Fix("safe", "t"))[-1] == "help: t"
    same = Fix("safe", "t", (edit(PROGRAM, "loss", "loss"),))
    assert shown(PROGRAM, span(PROGRAM, "loss"), same)[-1] == "help: t"


def test_what_is_not_text_is_still_shown() -> None:
    where = Span(3, 4)
    found = diagnostic("a\nbc\n", where)
    report = Report(1, (FileResult(f"{CWD}/a.py", b"a\n\xff\xfe\n", (found,)),))
    assert "\ufffd" in full(report)


def test_without_source_the_place_is_enough() -> None:
    report = Report(1, (FileResult(f"{CWD}/a.py", None, (item(replaced()),)),))
    assert full(report).splitlines()[1:] == ["  --> a.py:12:14", "help: Keep the tensor", ""]


def test_marks_follow_what_the_run_allows() -> None:
    unsafe = one(item(replaced("unsafe")))
    assert "[*]" not in full(unsafe)
    assert "[*]" in full(unsafe, PLAIN._replace(unsafe_fixes=True))
    assert "[*]" not in full(one(item(replaced("displayonly"))), PLAIN._replace(unsafe_fixes=True))


def test_colours_change_nothing_but_colours() -> None:
    import re

    for found in (item(replaced()), attention(), item(severity="hint")):
        colored = full(one(found), PLAIN._replace(color=True))
        assert "\x1b[" in colored
        plain = re.sub(r"\x1b\[[\d;]*m", "", colored)
        assert [line.rstrip() for line in plain.splitlines()] == full(one(found)).splitlines()


def test_a_path_elsewhere_is_absolute() -> None:
    assert "--> /elsewhere/a.py:12:14" in full(one(item(), path="/elsewhere/a.py"))
