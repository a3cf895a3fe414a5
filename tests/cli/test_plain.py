"""Command lines that are read without click: read as click reads them, or left to it."""

from __future__ import annotations

import random
from pathlib import Path

import click
import pytest

from cudalint.cli import check
from cudalint.commands.flags import OPTIONS, Flag
from cudalint.commands.plain import plain


def _by_click(words: list[str]) -> dict[str, object] | None:
    """What click reads; None where it complains."""
    try:
        return dict(check.make_context("check", list(words)).params)
    except click.ClickException:
        return None


def _spellings(flag: Flag) -> list[list[str]]:
    """Every way of giving an option once."""
    if flag.switch:
        return [[name] for name in flag.names]
    if flag.twin:
        return [[flag.names[0]], [flag.refusal]]
    values = flag.choices or (("1", "12") if flag.least else ("a,b", "x = 1", "ä"))
    apart = [[name, value] for name in flag.names for value in values]
    joined = [[f"{flag.names[-1]}={value}"] for value in values]
    return apart + joined


def _same(words: list[str]) -> None:
    read = plain(words)
    assert read is not None, words
    assert read == _by_click(words), words


@pytest.mark.parametrize("flag", OPTIONS, ids=lambda flag: flag.key)
def test_each_option_is_read_as_click_reads_it(folder: Path, flag: Flag) -> None:
    for words in _spellings(flag):
        _same(words)
        _same(["a.py", *words, "-", *words, "b"])


def test_options_together_are_read_as_click_reads_them(folder: Path) -> None:
    draw = random.Random(0)
    for _ in range(200):
        flags = draw.choices(OPTIONS, k=draw.randrange(6))
        parts = [draw.choice(_spellings(flag)) for flag in flags] + [["a.py"], ["b"]]
        draw.shuffle(parts)
        _same([word for part in parts for word in part])


@pytest.mark.parametrize(
    "words",
    [
        *(["--nope"], ["--help"], ["-h"], ["-x"], ["--"], ["-qs"], ["-j4"], ["-j=4"], ["-ofile"]),
        *(["--fix=1"], ["--isolated=true"], ["--no-fix=x"], ["--no-diff"], ["--output"]),
        *(["-j"], ["-j", "0"], ["-j", "x"], ["-j", "-1"], ["-j", "²"], ["--jobs="]),
        *(["--output-format", "x"], ["--output-format="], ["--color", "Always"]),
        *(["--select"], ["--select="], ["--select", "--fix"], ["--select", "-"], ["--select", ""]),
    ],
)
def test_what_is_not_plain_is_left_to_click(folder: Path, words: list[str]) -> None:
    assert plain(words) is None
    assert plain(["a.py", *words]) is None


@pytest.mark.parametrize(
    "name",
    ["CUDALINT_OUTPUT_FORMAT", "CUDALINT_OUTPUT_FILE", "CUDALINT_NO_CACHE", "_CUDALINT_COMPLETE"],
)
def test_what_the_environment_sets_is_left_to_click(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert plain([]) == _by_click([])
    monkeypatch.setenv(name, "1")
    assert plain([]) is None
