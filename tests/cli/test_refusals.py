"""Bad input: exit code 2, one clear message, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Lint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--watch"], "No such option '--watch'"),
        (["check", "--preview"], "No such option"),
        (["check", "--baseline", "x"], "No such option"),
        (["check", "--output-format=junit"], "is not one of"),
        (["check", "--jobs=0"], "0 is not in the range"),
        (["server"], "No such command 'server'"),
        (["check", "--select=CUS0O1"], "did you mean `CUS001` (item-in-step-loop)?"),
        (["check", "--ignore=unpinned-dataloder"], "did you mean `unpinned-dataloader` (CUD001)?"),
        (["check", "--fixable=XYZ"], "unknown rule selector `XYZ` in `fixable`"),
        (["check", "--per-file-ignores=a.py"], "PATTERN:RULE is expected"),
        (["check", "--per-file-ignores=a.py:NOPE"], "unknown rule selector `NOPE`"),
        (["check", "--extension=inl"], "SUFFIX:LANGUAGE is expected"),
        (["check", "--extension=inl:rust"], '"python" or "cuda"'),
        (["check", "--target-gpus=h10O"], "did you mean `h100`?"),
        (["check", "--config", "nowhere.toml"], "neither a file nor a TOML"),
        (["check", "--config", "selct = []"], "did you mean `select`?"),
        (["check", "--config", "hints = 3"], "must be bool"),
        (["check", "-", "a.py"], "cannot be combined with paths"),
        (["check", "-", "--add-noqa"], "cannot work on standard input"),
        (["check", "--add-noqa", "--diff"], "cannot be combined"),
        (["fix", "--add-noqa", "--fix"], "cannot be combined"),
        (["check", "-o", "a.py/out.txt"], "cannot be written"),
        (["rule", "CUZ999"], "unknown rule `CUZ999`"),
        (["rule", "CUS"], "unknown rule `CUS`"),
        (["rule", "CUS001", "--all"], "not both"),
        (["config", "slect"], "did you mean `select`?"),
        (["clean", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_refused(lint: Lint, arguments: list[str], message: str) -> None:
    result = lint(*arguments, select=False)
    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.output
    assert result.stdout == ""


def test_a_bad_configuration_names_file_and_key(lint: Lint, folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.cudalint]\nselct = []\n")
    result = lint("check", select=False)
    assert result.exit_code == 2
    expected = f"error: unknown key `selct` in {folder}/pyproject.toml; did you mean `select`?\n"
    assert result.stderr == expected


def test_a_bug_is_called_one(lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    import cudalint.run

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(cudalint.run, "run", broken)
    result = lint("check")
    assert result.exit_code == 2 and "this is a bug in cudalint" in result.stderr


@pytest.mark.parametrize(
    "data",
    [
        b"import torch\n" + b"(" * 5000 + b")" * 5000 + b"\n",
        b"import torch\nx = " + b"[" * 5000,
        b"\x00\x00torch\x00",
        b"# coding: no-such-codec\nimport torch\n",
        b"\xff\xfeimport torch",
        b"import torch\nx = '\xff\xfe'\n",
        b"import torch\ndef f(:\n  GradScaler(\n",
        b"",
        b"\xef\xbb\xbf",
        b"import torch\r\rx = 1\r",
    ],
    ids=[
        "brackets",
        "open",
        "nulls",
        "codec",
        "bom",
        "bytes",
        "syntax",
        "empty",
        "mark",
        "returns",
    ],
)
@pytest.mark.parametrize("output_format", ["full", "json"])
def test_odd_files_are_checked_and_so_are_the_others(
    lint: Lint, folder: Path, data: bytes, output_format: str
) -> None:
    (folder / "odd.py").write_bytes(data)
    result = lint("check", f"--output-format={output_format}")
    assert result.exit_code == 1, result.output
    assert "CUP003" in result.stdout and "Traceback" not in result.output
