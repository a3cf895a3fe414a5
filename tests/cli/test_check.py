"""`cudalint check` and `cudalint fix`: what they print, write and exit with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import FIXED, SCALER, Lint

LINE = "a.py:4:10: CUP003 [*] "
SUMMARY = "Found 1 error. [*] 1 fixable with `cudalint fix`.\n"


def test_findings_exit_with_1(lint: Lint) -> None:
    result = lint("check", "--output-format=concise")
    assert result.exit_code == 1
    assert result.stdout.startswith(LINE) and result.stdout.endswith(SUMMARY)
    assert result.stderr == ""


def test_no_findings_exit_with_0(lint: Lint, folder: Path) -> None:
    (folder / "a.py").write_text("import torch\n")
    result = lint("check")
    assert (result.exit_code, result.stdout) == (0, "All checks passed!\n")


def test_full_is_the_default(lint: Lint) -> None:
    assert "4 | scaler = GradScaler()\n  |          ^^^^^^^^^^^^" in lint("check", "a.py").stdout


def test_a_missing_path_exits_with_2_and_the_rest_is_checked(lint: Lint) -> None:
    result = lint("check", "nope.py", "a.py", "--output-format=concise")
    assert result.exit_code == 2
    assert result.stdout.startswith(LINE)
    assert result.stderr == "error: nope.py: no such file or folder\n"


def test_where_nothing_could_be_checked_nothing_is_praised(lint: Lint) -> None:
    result = lint("check", "nope.py")
    assert result.exit_code == 2
    assert result.stdout == "No findings, but not everything could be checked.\n"


def test_a_file_that_cannot_be_read_exits_with_2(lint: Lint, folder: Path) -> None:
    (folder / "loop.py").symlink_to("loop.py")
    (folder / "b.py").mkdir()
    result = lint("check", "loop.py", "a.py", "--output-format=concise")
    assert result.exit_code == 2 and "loop.py" in result.stderr
    assert result.stdout.startswith(LINE)


def test_nothing_to_check_is_said(lint: Lint, folder: Path) -> None:
    (folder / "empty").mkdir()
    result = lint("check", "empty")
    assert result.exit_code == 0
    assert "no Python or CUDA files found" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "output"),
    [
        (["--exit-zero"], 0, SUMMARY),
        (["-e", "-q"], 0, "`\n"),
        (["--quiet", "--output-format=concise"], 1, "\n"),
        (["--silent"], 1, ""),
        (["--statistics"], 1, "1\tCUP003\t[*] deprecated-cuda-gradscaler\n" + SUMMARY),
        (["--unfixable=CUP003"], 1, "Found 1 error.\n"),
        (["--ignore=CUP003"], 0, "All checks passed!\n"),
        (["--per-file-ignores=a.py:CUP003"], 0, "All checks passed!\n"),
        (["--per-file-ignores=*.cu:CUP003"], 1, SUMMARY),
        (["--extend-exclude=a.py"], 0, "All checks passed!\n"),
    ],
)
def test_options(lint: Lint, options: list[str], code: int, output: str) -> None:
    result = lint("check", *options)
    assert result.exit_code == code
    if output == "":
        assert result.output == ""
    else:
        assert result.stdout.endswith(output) or "-q" in options
    assert ("Found" in result.stdout) is (output == SUMMARY or "Found" in output)


def test_fix_writes_and_exits_with_0(lint: Lint, folder: Path) -> None:
    result = lint("fix")
    assert (result.exit_code, result.stdout) == (0, "Found 1 error (1 fixed, 0 remaining).\n")
    assert (folder / "a.py").read_text() == FIXED


def test_check_fix_is_fix(lint: Lint, folder: Path) -> None:
    assert lint("check", "--fix", "--exit-non-zero-on-fix").exit_code == 1
    assert (folder / "a.py").read_text() == FIXED
    assert lint("check", "--fix", "--exit-non-zero-on-fix").exit_code == 0


def test_show_fixes(lint: Lint) -> None:
    assert lint("fix", "--show-fixes").stdout.startswith(
        "Fixed 1 error:\n- a.py:\n    1 × CUP003 (deprecated-cuda-gradscaler)\n\nFound 1 error"
    )


def test_fix_only_does_not_report_what_is_left(lint: Lint, folder: Path) -> None:
    (folder / "b.py").write_text(SCALER)
    result = lint("fix", "--fix-only", "--unfixable=CUP003")
    assert result.exit_code == 0 and "b.py" not in result.stdout
    assert (folder / "b.py").read_text() == SCALER


def test_diff_writes_nothing_and_exits_with_1(lint: Lint, folder: Path) -> None:
    result = lint("check", "--diff")
    assert result.exit_code == 1
    assert result.stdout.startswith("--- a.py\n+++ a.py\n@@ ")
    assert '+scaler = torch.amp.GradScaler("cuda")\n' in result.stdout
    assert result.stderr == "Would fix 1 error.\n"
    assert (folder / "a.py").read_text() == SCALER
    (folder / "a.py").write_text(FIXED)
    result = lint("fix", "--diff")
    assert (result.exit_code, result.stdout) == (0, "")


def test_add_noqa_then_nothing_is_left(lint: Lint, folder: Path) -> None:
    result = lint("check", "--add-noqa")
    assert (result.exit_code, result.stdout) == (0, "Added 1 suppression.\n")
    assert "# cudalint: ignore[CUP003]" in (folder / "a.py").read_text()
    assert lint("check").exit_code == 0
    assert lint("check", "--ignore-noqa").exit_code == 1


def test_standard_input(lint: Lint) -> None:
    result = lint("check", "-", "--stdin-filename=x/y.py", "--output-format=concise", stdin=SCALER)
    assert result.exit_code == 1 and result.stdout.startswith("x/y.py:4:10: CUP003")


def test_standard_input_is_fixed_to_standard_output(lint: Lint) -> None:
    result = lint("fix", "-", stdin=SCALER)
    assert (result.exit_code, result.stdout) == (0, FIXED)
    assert "1 fixed" in result.stderr


@pytest.mark.parametrize("data", [b"", b"x = 1\r\n", b"\xef\xbb\xbfx = 1", b"\xff\xfe\x00x"])
def test_what_needs_no_fix_comes_back_as_it_was(lint: Lint, data: bytes) -> None:
    assert lint("fix", "-", stdin=data).stdout_bytes == data


def test_standard_input_keeps_its_encoding(lint: Lint) -> None:
    text = "# coding: latin-1\n# é\n" + SCALER
    result = lint("fix", "-", stdin=text.encode("latin-1"))
    assert result.stdout_bytes == ("# coding: latin-1\n# é\n" + FIXED).encode("latin-1")


def test_excluded_standard_input_is_left_alone(lint: Lint) -> None:
    words = ("fix", "-", "--stdin-filename=venv/a.py", "--force-exclude")
    assert lint(*words, stdin=SCALER).stdout == SCALER


def test_output_goes_to_a_file(lint: Lint, folder: Path) -> None:
    result = lint("check", "--output-format=json", "-o", "out/report.json")
    assert (result.exit_code, result.stdout) == (1, "")
    (found,) = json.loads((folder / "out/report.json").read_text())
    assert found["code"] == "CUP003" and found["filename"] == str(folder / "a.py")
    assert found["fix"]["edits"]


def test_formats_for_programs_have_no_last_line(lint: Lint) -> None:
    json.loads(lint("check", "--output-format=json").stdout)
    json.loads(lint("check", "--output-format=sarif").stdout)
    assert lint("check", "--output-format=github").stdout.count("\n") == 1


def test_colours_are_for_terminals(lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in lint("check").stdout
    assert "\x1b" in lint("check", "--color=always").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in lint("check").stdout
    assert "\x1b" not in lint("check", "--color=never").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in lint("check").stdout


def test_show_files_and_show_settings(lint: Lint, folder: Path) -> None:
    (folder / "b.cu").touch()
    assert lint("check", "--show-files").stdout == f"{folder}/a.py\n{folder}/b.cu\n"
    shown = lint("check", "--show-settings", "--target-gpus=h100,t4", "a.py").stdout
    assert '"CUP003",  # deprecated-cuda-gradscaler' in shown
    assert 'target-gpus = ["h100", "t4"]' in shown


def test_configuration_decides_and_options_override(lint: Lint, folder: Path) -> None:
    (folder / "cudalint.toml").write_text(
        'select = ["CUP003"]\noutput-format = "concise"\n[per-file-ignores]\n"b.py" = ["ALL"]\n'
    )
    (folder / "b.py").write_text(SCALER)
    result = lint("check", "-n", select=False)
    assert result.stdout.startswith(LINE) and "b.py" not in result.stdout
    assert lint("check", "-n", "--isolated", "--select=CUP003", select=False).exit_code == 1
    assert lint("check", "-n", "--ignore=CUP003", select=False).exit_code == 0
    assert lint("check", "-n", "--config", "select = []", select=False).exit_code == 0


def test_folders_may_differ(lint: Lint, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/a.py").write_text(SCALER)
    (folder / "sub/cudalint.toml").write_text('select = ["CUS"]\n')
    (folder / "cudalint.toml").write_text('select = ["CUP003"]\n')
    result = lint("check", "-n", "--output-format=concise", select=False)
    assert result.stdout.startswith(LINE) and "Found 1 error." in result.stdout


def test_verbose_says_what_is_done(lint: Lint) -> None:
    messages = lint("check", "-v").stderr
    assert (
        "configuration: none" in messages and "CUP003" in messages and "checked 1 file" in messages
    )


def test_a_rule_that_crashes_is_named(lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    from cudalint import registry

    def broken(self: registry.Rule) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(registry.Rule, "load_check", broken)
    result = lint("check")
    assert result.exit_code == 2
    assert "a.py: CUP003" in result.stderr and "boom" in result.stderr
    assert result.stdout == "No findings, but not everything could be checked.\n"
