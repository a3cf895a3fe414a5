"""`rule`, `config`, `clean`, help and version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cudalint import __version__
from cudalint.options import OPTIONS
from cudalint.registry import RULES, by_code
from cudalint.settings import CACHE_FOLDER
from tests.cli.conftest import Lint


def test_version(lint: Lint) -> None:
    assert lint("--version", select=False).stdout == f"cudalint {__version__}\n"


def test_a_rule_has_its_page(lint: Lint) -> None:
    by_its_code = lint("rule", "cup003", select=False)
    assert by_its_code.exit_code == 0
    assert by_its_code.stdout.startswith("# deprecated-cuda-gradscaler (CUP003)\n\nPython · on by")
    assert "\n## What it does\n" in by_its_code.stdout
    assert lint("rule", "deprecated-cuda-gradscaler", select=False).stdout == by_its_code.stdout


def test_a_rule_as_json(lint: Lint) -> None:
    shown = json.loads(lint("rule", "CUP003", "--output-format=json", select=False).stdout)
    rule = by_code()["CUP003"]
    assert (shown["name"], shown["fix"], shown["default"]) == (rule.name, rule.fix, True)
    assert shown["summary"] and "## Fix safety" in shown["body"]


def test_all_rules(lint: Lint) -> None:
    text = lint("rule", "--all", select=False).stdout
    assert all(f"# {rule.name} ({rule.code})" in text for rule in RULES)
    shown = json.loads(lint("rule", "--all", "--output-format=json", select=False).stdout)
    assert [each["code"] for each in shown] == [rule.code for rule in RULES]


def test_without_a_rule_all_are_listed(lint: Lint) -> None:
    lines = lint("rule", select=False).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[rule.code, rule.name] for rule in RULES]
    assert len(json.loads(lint("rule", "--output-format=json", select=False).stdout)) == len(RULES)


def test_config_lists_all_keys(lint: Lint) -> None:
    text = lint("config", select=False).stdout
    assert all(f"{option.key}: {option.kind}\n" in text for option in OPTIONS)
    shown = json.loads(lint("config", "--output-format=json", select=False).stdout)
    assert [each["key"] for each in shown] == [option.key for option in OPTIONS]
    one = json.loads(lint("config", "kernel-source", "--output-format=json", select=False).stdout)
    assert one["type"] == '"cudalint" | "torch" | "vendored"' and one["default"] == "cudalint"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_examples_of_keys_are_accepted(lint: Lint, folder: Path, option: object) -> None:
    example = option.example  # type: ignore[attr-defined]
    (folder / "cudalint.toml").write_text(example + "\n")
    assert lint("check", "--show-settings", select=False).exit_code == 0


def test_clean_removes_caches_and_nothing_else(lint: Lint, folder: Path) -> None:
    for parent in (folder, folder / "sub"):
        cache = parent / CACHE_FOLDER
        cache.mkdir(parents=True)
        (cache / "CACHEDIR.TAG").touch()
    own = folder / "other" / CACHE_FOLDER
    own.mkdir(parents=True)
    result = lint("clean", select=False)
    assert result.exit_code == 0 and result.stdout.count("Removed ") == 2
    assert own.exists() and (folder / "a.py").exists()
    assert not (folder / CACHE_FOLDER).exists() and not (folder / "sub" / CACHE_FOLDER).exists()


def test_clean_refuses_what_may_be_no_cache(lint: Lint, folder: Path) -> None:
    (folder / "mine").mkdir()
    result = lint("clean", "--cache-dir=mine", select=False)
    assert result.exit_code == 2 and "may be no cache" in result.stderr
    assert (folder / "mine").exists()


def test_a_check_leaves_a_cache_that_clean_removes(lint: Lint, folder: Path) -> None:
    import os

    os.utime(folder / "a.py", (1, 1))
    lint("check", "--isolated", select=False)
    assert (folder / CACHE_FOLDER).exists()
    lint("clean", select=False)
    assert not (folder / CACHE_FOLDER).exists()


def test_help_names_every_option(lint: Lint) -> None:
    text = lint("check", "--help", select=False).stdout
    for name in (
        *("fix", "unsafe-fixes", "show-fixes", "fix-only", "diff", "add-noqa", "ignore-noqa"),
        *("output-format", "output-file", "statistics", "hints", "show-files", "show-settings"),
        *("color", "select", "ignore", "extend-select", "per-file-ignores", "fixable", "unfixable"),
        *("extend-per-file-ignores", "extend-fixable", "target-gpus", "exclude", "extend-exclude"),
        *("respect-gitignore", "force-exclude", "extension", "stdin-filename", "jobs", "no-cache"),
        *("cache-dir", "config", "isolated", "exit-zero", "exit-non-zero-on-fix", "verbose"),
        *("quiet", "silent"),
    ):
        assert f"--{name}" in text
    assert lint("fix", "--help", select=False).exit_code == 0
