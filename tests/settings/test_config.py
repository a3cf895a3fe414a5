"""Configuration files: which one counts, what may stand in it, and how errors read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cudalint.config import Configuration
from cudalint.errors import UsageError
from cudalint.gpus import architecture
from cudalint.options import OPTIONS, by_key
from cudalint.settings import Settings


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDALINT_CACHE_DIR", raising=False)
    return tmp_path


def of(folder: Path, **arguments: Any) -> Settings:
    return Configuration(**arguments).of(str(folder))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_without_files_the_defaults_hold(project: Path) -> None:
    settings = of(project)
    assert settings.origin is None and settings.rules == Settings().rules
    assert settings.cache_dir == str(project / ".cudalint_cache")
    assert not settings.kernel_source_set


def test_the_nearest_file_wins(project: Path) -> None:
    write(project / "pyproject.toml", '[tool.cudalint]\nselect = ["CUS"]\n')
    write(project / "a/cudalint.toml", 'select = ["CUP003"]\n')
    write(project / "a/b/pyproject.toml", '[project]\nname = "x"\n')
    deep = project / "a/b/c"
    deep.mkdir()
    assert [r.code for r in of(project).rules] == ["CUS001", "CUS004"]
    assert [r.code for r in of(deep).rules] == ["CUP003"]
    assert of(deep).root == str(project / "a")


def test_our_own_file_comes_before_pyproject(project: Path) -> None:
    write(project / "pyproject.toml", "[tool.cudalint]\nhints = true\n")
    write(project / "cudalint.toml", "dataloader-workers = 8\n")
    assert not of(project).hints and of(project).dataloader_workers == 8


def test_every_key_arrives(project: Path) -> None:
    write(
        project / "cudalint.toml",
        """
        unsafe-fixes = true
        hints = true
        force-exclude = true
        respect-gitignore = false
        fix = true
        target-gpus = ["h100", "T4"]
        kernel-source = "torch"
        vendored-path = "src/kernels"
        assume-compiled = true
        precision-policy = "bf16"
        hot-functions = ["decode"]
        dataloader-workers = 0
        output-format = "concise"
        cache-dir = "caches"
        extension = { inl = "cuda" }
        extend-exclude = ["gen"]
        [per-file-ignores]
        "a.py" = ["CUS"]
        """,
    )
    s = of(project)
    assert (s.unsafe_fixes, s.hints, s.force_exclude, s.fix) == (True, True, True, True)
    assert not s.respect_gitignore and s.assume_compiled
    assert s.architectures == (75, 90)
    assert (s.kernel_source, s.kernel_source_set) == ("torch", True)
    assert (s.vendored_path, s.precision_policy) == ("src/kernels", "bf16")
    assert (s.hot_functions, s.dataloader_workers) == (("decode",), 0)
    assert (s.output_format, s.cache_dir) == ("concise", str(project / "caches"))
    assert s.languages == {"inl": "cuda"}
    assert s.excluded(f"{project}/gen", "gen") and s.excluded(f"{project}/.venv", ".venv")
    assert "CUS001" not in {rule.code for rule in s.rules_for(f"{project}/a.py")}


def test_the_command_line_is_above_inline_keys_and_those_above_the_file(project: Path) -> None:
    write(project / "cudalint.toml", "dataloader-workers = 1\nprecision-policy = 'bf16'\n")
    inline = ["dataloader-workers = 2", "assume-compiled = true"]
    s = of(project, config=inline, flags={"dataloader-workers": 3})
    assert (s.dataloader_workers, s.assume_compiled, s.precision_policy) == (3, True, "bf16")


def test_a_given_file_replaces_those_found(project: Path) -> None:
    write(project / "cudalint.toml", "hints = true\n")
    other = write(project / "other/pyproject.toml", "[tool.cudalint]\nassume-compiled = true\n")
    s = of(project, config=[str(other)])
    assert s.assume_compiled and not s.hints
    assert s.root == str(project)  # as in ruff: its paths are relative to the current folder
    assert not of(project, isolated=True).hints


@pytest.mark.parametrize(
    ("project_file", "expected"),
    [
        ('[project]\ndependencies = ["torch", "cudalint[kernels]>=1"]', True),
        ('[project]\ndependencies = ["Cudalint == 1"]', True),
        ('[tool.poetry.dependencies]\ncudalint = "*"', True),
        ('[project]\ndependencies = ["cudalint-extras"]', False),
        ('[dependency-groups]\ndev = ["cudalint"]', False),
        ('[tool.cudalint]\nkernel-source = "cudalint"', True),
        ('[project]\ndependencies = "cudalint"', False),
        ("project = 1 # cudalint", False),
    ],
)
def test_when_a_project_asked_for_our_kernels(
    project: Path, project_file: str, expected: bool
) -> None:
    write(project / "pyproject.toml", project_file)
    assert of(project).kernel_source_set is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("selct = []", "unknown key `selct` in {path}; did you mean `select`"),
        ("dataloader_workers = 4", "did you mean `dataloader-workers`"),
        ("zzz = 1", "`cudalint config` lists all keys"),
        ("select = 'CUS'", "`select` in {path} must be list[str], not `'CUS'`"),
        ("select = [1]", "must be list[str]"),
        ("hints = 1", "must be bool, not `1`"),
        ("dataloader-workers = true", "must be int, not `true`"),
        ("dataloader-workers = -1", "must be int"),
        ("kernel-source = 'pytorch'", 'must be "cudalint" | "torch" | "vendored"'),
        ("extension = { a = 'rust' }", "python"),
        ("per-file-ignores = { a = 'CUS' }", "must be dict[str, list[str]]"),
        ("per-file-ignores = { a = ['XYZ'] }", "unknown rule selector `XYZ`"),
        ("ignore = ['unpinned-dataloder']", "did you mean `unpinned-dataloader`"),
        ("target-gpus = ['h10O']", "did you mean `h100`"),
        ("select = [", "not valid TOML"),
        ("lint = { select = [] }", "unknown key `lint`"),
    ],
)
def test_what_is_wrong_is_named(project: Path, text: str, message: str) -> None:
    path = write(project / "cudalint.toml", text)
    with pytest.raises(UsageError) as raised:
        of(project)
    assert message.format(path=path) in str(raised.value)


def test_a_file_that_is_not_utf8_is_named(project: Path) -> None:
    (project / "cudalint.toml").write_bytes(b"select = ['\xff']")
    with pytest.raises(UsageError, match="not valid TOML"):
        of(project)


def test_a_config_argument_that_is_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="neither a file nor"):
        Configuration(config=["nowhere.toml"])


def test_a_project_that_never_names_us_is_not_parsed(project: Path) -> None:
    write(project / "pyproject.toml", "this is not TOML at all [")
    assert of(project).origin is None


def test_defaults_in_the_table_are_those_of_the_settings() -> None:
    settings = Settings()
    for option in OPTIONS:
        value = getattr(settings, option.key.replace("-", "_"), None)
        if isinstance(value, (bool, int, str)) and option.key != "cache-dir":
            assert value == option.default, option.key
    assert len(by_key()) == len(OPTIONS)


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [("h100", 90), ("NVIDIA H100", 90), ("sm_75", 75), ("sm_90a", 90), ("RTX-4090", 89)],
)
def test_gpu_names(gpu: str, expected: int) -> None:
    assert architecture(gpu) == expected
