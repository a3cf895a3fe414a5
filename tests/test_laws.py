"""The laws of the house: imports in one direction, no torch, no second copies, public names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cudalint.registry import RULES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cudalint"

# Low to high: a module imports from its own layer and those below it, never from above.
LAYERS = (
    {
        "",
        "errors",
        "formats",
        "model",
        "lazy",
        "records",
        "cst",
        "garbage",
        "rare",
        "prose",
        "occurrences",
        "definitions",
        "bases",
        "loops",
        "hooks",
    },
    {"registry"},  # names of rules only: checks and fixes are loaded by importlib when asked for
    {"gpus", "globs", "selection", "settings", "options", "config", "report"},
    {
        "read",
        "stepping",
        "reach",
        "sieve",
        "conditionals",
        "blank",
        "parse",
        "package",
        "ignore",
        "discover",
    },
    {"facts", "logical"},
    {"checks", "fixes"},
    {"suppress", "look", "rewrite"},
    {"engine"},
    {"diagnostics", "fixing", "annotate"},
    {"cache", "project", "single", "workers", "run"},
    {"pages", "render", "commands"},
    {"cli", "__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def _modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "kernels" not in path.parts]


def _part(path: Path) -> str:
    inner = path.relative_to(PACKAGE)
    return (
        inner.parts[0].removesuffix(".py")
        if inner.name != "__init__.py" or len(inner.parts) > 1
        else ""
    )


def _imports(path: Path) -> list[tuple[str, int]]:
    """The modules that a file imports at run time, with the row; TYPE_CHECKING blocks left out."""
    found: list[tuple[str, int]] = []
    stack: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            stack += node.orelse
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found += [(f"{module}.{alias.name}", node.lineno) for alias in node.names]
        stack += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    here = _part(path)
    assert here in LEVEL, f"{here} has no layer: give it one"
    for name, row in _imports(path):
        top = name.split(".")[0]
        assert top not in ("torch", "triton", "checks", "fixes", "kernels"), f"{path}:{row}: {name}"
        if top != "cudalint":
            continue
        there = name.split(".")[1] if "." in name else ""
        there = there if (PACKAGE / there).is_dir() or (PACKAGE / f"{there}.py").exists() else ""
        assert there != "kernels", f"{path}:{row}: the linter knows nothing of the kernels"
        assert LEVEL[there] <= LEVEL[here], f"{path}:{row}: {here} imports {there}"
        assert {here, there} != {"checks", "fixes"}, f"{path}:{row}: checks and fixes never meet"


def test_classes_of_fields_are_records() -> None:
    for path in _modules():
        if path.name not in ("records.py", "cst.py"):
            names = [name for name, _ in _imports(path) if name.startswith("dataclasses")]
            assert not names, f"{path}: use cudalint.records, which costs no time at start-up"


def test_libcst_is_loaded_in_one_place() -> None:
    for path in _modules():
        if path.name != "cst.py":
            names = [name for name, _ in _imports(path) if name.split(".")[0] == "libcst"]
            assert not names, f"{path}: `from cudalint.cst import libcst` takes less time"


def test_kernels_know_nothing_of_the_linter() -> None:
    for path in sorted((PACKAGE / "kernels").rglob("*.py")):
        for name, row in _imports(path):
            if name.split(".")[0] == "cudalint":
                assert name.startswith("cudalint.kernels"), f"{path}:{row}: {name}"


def test_package_holds_the_version_and_nothing_else() -> None:
    body = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    assert [type(node).__name__ for node in body] == ["Expr", "Assign"]


def test_the_linter_never_imports_torch(tmp_path: Path) -> None:
    program = tmp_path / "a.py"
    program.write_text("import torch\nfrom torch.cuda.amp import GradScaler\ns = GradScaler()\n")
    code = (
        "import sys\n"
        "from cudalint.__main__ import run\n"
        "sys.argv[1:] = ['check', '--isolated', '--no-cache', sys.argv[1]]\n"
        "run()\n"
        "heavy = {'torch', 'libcst', 'triton', 'rich', 'tree_sitter_cuda'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CUP003" in done.stdout


def test_root_links_are_front_doors_only() -> None:
    for name in ("checks", "fixes", "kernels"):
        link = ROOT / name
        assert link.is_symlink() and link.readlink() == Path("cudalint") / name
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert config["mypy"]["files"] == ["cudalint"]
    assert config["pytest"]["ini_options"]["testpaths"] == ["tests"]
    assert "importlib" in config["pytest"]["ini_options"]["addopts"]
    assert config["setuptools"]["packages"]["find"]["include"] == ["cudalint*"]
    assert {"/checks", "/fixes", "/kernels"} <= set(config["ruff"]["extend-exclude"])


def _catalogue() -> dict[str, list[str]]:
    text = (ROOT / "tests" / "catalogue.txt").read_text(encoding="utf-8")
    rows = [row.split() for row in text.splitlines() if not row.startswith("#")]
    return {row[0]: row[1:] for row in rows}


def test_registry_keeps_the_public_names() -> None:
    catalogue = _catalogue()
    for rule in RULES:
        default = "on" if rule.on else "hint"
        assert [default, rule.severity, rule.name] == catalogue[rule.code], rule.code
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)


SECTIONS = ("What it does", "Why is this bad", "Example", "Use instead", "Fix safety", "References")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_rule_is_its_page(rule: object) -> None:
    page = rule.load_check().__doc__  # type: ignore[attr-defined]
    assert page.splitlines()[0].strip(), "the first line is the summary"
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert [h for h in SECTIONS if h in headings] == headings, headings
    assert {"What it does", "Why is this bad"} <= set(headings)
    if rule.family != "own":  # type: ignore[attr-defined]
        assert {"Example", "Use instead", "Fix safety"} <= set(headings)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_rule_that_promises_a_fix_has_one(rule: object) -> None:
    if rule.family == "own":  # type: ignore[attr-defined]
        return
    fixer = rule.load_fix()  # type: ignore[attr-defined]
    if rule.fix is None:  # type: ignore[attr-defined]
        assert fixer is None
    else:
        assert callable(fixer.plan) and callable(fixer.write)
