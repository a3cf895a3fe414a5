"""README.md: its commands run, the output it shows is produced, its tables and settings are true."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cudalint import __version__
from cudalint.config import Configuration
from cudalint.registry import RULES, Rule
from tests.docs.markdown import ROOT, Block, blocks, read, sections, spans
from tests.harness.linting import found

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = read("README.md")
SKIP = "…"


def _block(language: str, holding: str = "") -> Block:
    return next(b for b in blocks(TEXT) if b.language == language and holding in b.text)


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command line that starts with `cudalint`, in a folder, without a cache."""
    program, *arguments = shlex.split(command, comments=True)
    assert program == "cudalint"
    return subprocess.run(
        [sys.executable, "-m", "cudalint", *arguments],
        cwd=folder,
        env={**os.environ, "CUDALINT_NO_CACHE": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


# -- commands -------------------------------------------------------------------------------------


def _sessions() -> list[tuple[str, str]]:
    """Each command of the console blocks with the output that is shown below it."""
    found = []
    for block in blocks(TEXT):
        if block.language == "console":
            _, *parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
            found += [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]
    return found


@pytest.mark.parametrize("command, shown", _sessions(), ids=[c for c, _ in _sessions()])
def test_the_output_shown_is_produced(command: str, shown: str) -> None:
    """Runs of lines between the marks of what is left out occur as they are, in order."""
    done = _run(command, ROOT)
    assert "error:" not in done.stderr, done.stderr
    printed = done.stdout + done.stderr
    at = 0
    for piece in re.split(rf"^{SKIP}\n", shown, flags=re.MULTILINE):
        found = printed.find(piece, at)
        assert found >= 0, f"not printed:\n{piece}\nbut:\n{printed}"
        at = found + len(piece)


def _commands() -> list[str]:
    lines = [line for b in blocks(TEXT) if b.language == "sh" for line in b.text.splitlines()]
    return [line for line in lines if line]


CHECKED = [command for command in _commands() if command.startswith("cudalint")]


@pytest.mark.parametrize("command", CHECKED)
def test_commands_run_on_the_examples(command: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "cudalint.toml").write_text("", encoding="utf-8")
    done = _run(command, tmp_path)
    assert done.returncode in (0, 1) and done.stdout, done.stdout + done.stderr
    assert "error:" not in done.stderr, done.stderr


def test_other_commands_name_what_exists() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    makefile = read("Makefile")
    for command in (c for c in _commands() if c not in CHECKED):
        words = shlex.split(command, comments=True)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), command
        elif words[:2] == ["pip", "install"]:
            extras = re.findall(r"\[(\w+)\]", words[2])
            assert set(extras) <= set(project["optional-dependencies"]), command
        else:
            assert words[:3] == ["python", "-m", "cudalint.kernels"], command


# -- tables and settings --------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_has_its_row(rule: Rule) -> None:
    rows = [row for row in TEXT.splitlines() if row.startswith(f"| {rule.code} |")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert cells[1] == f"[{rule.name}](docs/rules.md#{rule.name})"
    assert cells[3] == (rule.fix or "advice")


def test_no_row_without_its_rule() -> None:
    codes = re.findall(r"^\| (CU\w+) \|", TEXT, re.MULTILINE)
    assert sorted(codes) == sorted(rule.code for rule in RULES)


def test_the_configuration_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(_block("toml").text, encoding="utf-8")
    settings = Configuration().of(str(tmp_path))
    assert settings.origin == str(tmp_path / "pyproject.toml")
    assert settings.architectures == (80, 90) and settings.kernel_source_set
    assert "CUN001" not in {rule.code for rule in settings.rules}


def test_the_hooks_exist_in_this_version() -> None:
    shown = _block("yaml").text
    offered = re.findall(r"^- id: (\S+)", read(".pre-commit-hooks.yaml"), re.MULTILINE)
    assert set(re.findall(r"- id: (\S+)", shown)) == set(offered)
    assert f"rev: v{__version__}\n" in shown


# -- suppressions ---------------------------------------------------------------------------------

PYTHON = """import torch

def train(model, loader):
    for x in torch.utils.data.DataLoader(loader):
        loss = model(x.cuda()).sum()
        loss.backward()
{}
"""
CUDA = """__global__ void scale(float* x, int n) {{ x[threadIdx.x] *= n; }}

void run(float* x, int n, int grid, int block) {{
{}
}}
"""


@pytest.mark.parametrize(
    "language, program, codes",
    [
        ("python", PYTHON, ("CUS001", "CUE002", "CUE003")),
        ("cuda", CUDA, ("CUK007", "CUE002", "CUE003")),
    ],
)
def test_suppressions_hide_what_they_name(
    language: str, program: str, codes: tuple[str, ...]
) -> None:
    holding = {"python": "noqa", "cuda": "NOLINT"}[language]
    lines = ["        " + line for line in _block(language, holding).text.splitlines()]
    mark = {"python": "#", "cuda": "//"}[language]
    bare = [line.partition(mark)[0] or mark for line in lines]
    assert found(program.format("\n".join(lines)), codes, language) == []
    reads = [line for line in bare if line.strip()]
    assert len(found(program.format("\n".join(bare)), codes, language)) == len(reads)


def test_a_whole_file_can_be_ignored() -> None:
    section = next(s for s in sections(TEXT) if s.title == "Suppressing findings")
    comment = next(span for span in spans(section.text) if "file-ignore" in span)
    program = PYTHON.format("        loss.item()")
    codes = ("CUS001", "CUE002", "CUE003")
    assert found(program, codes) != []
    assert found(f"{comment}\n{program}", codes) == []


# -- kernels --------------------------------------------------------------------------------------


def test_the_kernels_run() -> None:
    exec(_block("python", "cudalint.kernels").text, {})


def test_a_model_is_patched(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed here")
    block = _block("python", "import patch").text
    exec(block, {})
    assert capsys.readouterr().out.strip() == block.partition("# ")[2].partition("\n")[0]
