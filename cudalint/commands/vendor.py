"""`cudalint vendor`: copy kernels into a project, as files that need torch and nothing of ours."""

from __future__ import annotations

import ast
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import partial

import cudalint
from cudalint.config import Configuration
from cudalint.errors import UsageError
from cudalint.lazy import lazy_compile
from cudalint.render.terminal import say

PACKAGE = "cudalint.kernels"
FOLDER = os.path.join(os.path.dirname(cudalint.__file__), "kernels")
TESTS = "_tests"
# What describes the whole library is no operation.
_ABOUT = f"{PACKAGE}.catalogue"
_MARK = "Copied from cudalint"
_IMPORT = lazy_compile(r"^(\s*)from cudalint\.kernels((?:\.\w+)*) import", re.MULTILINE)
# What a copy registers elsewhere, in `torch.ops` and with transformers, has a name of its own.
_NAMESPACE = lazy_compile(
    r'(?<=torch\.ops\.)cudalint\b|(?<=NAMESPACE = ")cudalint(?=")|(?<=\nNAME = ")cudalint(?=")'
    r"|cudalint(?=::)"
)


def vendor(names: Sequence[str], to: str | None, force: bool) -> int:
    """Copy operations, with the modules and tests that they need, to a folder of the project."""
    settings = Configuration().of(os.getcwd())
    root = settings.root or os.getcwd()
    folder = os.path.abspath(to) if to else os.path.join(root, settings.vendored_path.strip("/"))
    chosen = [*_checked(names), *_vendored(folder)]
    files = dict(_files(chosen, namespace(os.path.relpath(folder, root))))
    _refuse(folder, files, force)
    written = [name for name, text in files.items() if _write(os.path.join(folder, name), text)]
    shown = os.path.relpath(folder)
    say(f"Copied {', '.join(f'`{name}`' for name in names)} to {shown}: {len(written)} files")
    if settings.kernel_source != "vendored":
        say('Fixes write the copy with `kernel-source = "vendored"` in [tool.cudalint]')
    return 0


def namespace(path: str) -> str:
    """The `torch.library` namespace of a copy: two copies, or a copy and cudalint, never clash."""
    name = re.sub(r"\W+", "_", path).strip("_").lower()
    return name if "cudalint" in name and name != "cudalint" else f"cudalint_{name}"


# -- what there is --------------------------------------------------------------------------------


def operations() -> dict[str, str]:
    """Every public function and class with the module that defines it."""
    found: dict[str, str] = {}
    for node in ast.parse(_read("__init__.py")).body:
        if isinstance(node, ast.ImportFrom) and node.module not in (None, _ABOUT):
            found |= {alias.name: str(node.module) for alias in node.names}
    return found


def _checked(names: Sequence[str]) -> Sequence[str]:
    known = operations()
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean `{near[0]}`?" if near else "there are " + ", ".join(sorted(known))
            raise UsageError(f"unknown operation `{name}`; {hint}")
    return names


def _vendored(folder: str) -> list[str]:
    """The operations that an earlier copy holds, and that this cudalint still has."""
    text = _there(os.path.join(folder, "__init__.py")) or ""
    known = operations()
    return [name for name in re.findall(r'^    "(\w+)",$', text, re.MULTILINE) if name in known]


# -- what is copied -------------------------------------------------------------------------------


def _files(names: Iterable[str], space: str) -> Iterator[tuple[str, str]]:
    """The files of a copy by their path in its folder."""
    known = operations()
    modules = {known[name] for name in names}
    public = sorted(name for name, module in known.items() if module in modules)
    tests = [test for test in _tests() if _needed(test) <= set(public)]
    for path in sorted(_closure([*map(_path, modules), *tests])):
        text = _IMPORT.sub(partial(_relative, path.count("/")), _read(path))
        yield path.replace(TESTS, "tests"), _NAMESPACE.sub(space, text)
    yield "__init__.py", _init(public, known)


def _tests() -> list[str]:
    names = sorted(os.listdir(os.path.join(FOLDER, TESTS)))
    return [f"{TESTS}/{name}" for name in names if name.startswith("test_")]


def _needed(test: str) -> set[str]:
    """The operations that a test imports."""
    nodes = ast.parse(_read(test)).body
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == PACKAGE]
    return {alias.name for node in froms for alias in node.names}


def _closure(paths: Iterable[str]) -> set[str]:
    """Files and all that they import, at the top, in functions and for type checkers."""
    found: set[str] = set()
    todo = list(paths)
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        if "/" in path:
            todo.append(f"{os.path.dirname(path)}/__init__.py")
        for node in ast.walk(ast.parse(_read(path))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                todo.extend(_path(name) for name in (str(node.module), *names) if _path(name))
    return found


def _path(module: str) -> str:
    """The file of a module in the folder of kernels, "" where it is none."""
    inner = module.removeprefix(f"{PACKAGE}.").replace(".", "/")
    for path in (f"{inner}.py", f"{inner}/__init__.py"):
        if os.path.isfile(os.path.join(FOLDER, path)):
            return path
    return ""


def _relative(depth: int, found: re.Match[str]) -> str:
    inner = found[2].removeprefix(".").replace(TESTS, "tests")
    return f"{found[1]}from {'.' * (depth + 1)}{inner} import"


def _init(public: list[str], known: dict[str, str]) -> str:
    rows = [f"{_MARK} {cudalint.__version__} (Apache-2.0) by `cudalint vendor`."]
    rows = [f'"""Fused kernels. {rows[0]}"""', ""]
    for module in sorted({known[name] for name in public}):
        names = [name for name in public if known[name] == module]
        row = f"from {module.removeprefix(PACKAGE)} import {', '.join(names)}"
        rows.append(row if len(row) <= 100 else _wrapped(row.partition(" import ")[0], names))
    rows += ["", "__all__ = [", *(f'    "{name}",' for name in public), "]", ""]
    return "\n".join(rows)


def _wrapped(head: str, names: list[str]) -> str:
    return f"{head} import (\n" + textwrap.indent(",\n".join(names), "    ") + ",\n)"


# -- reading and writing --------------------------------------------------------------------------


def _read(path: str) -> str:
    with open(os.path.join(FOLDER, path), encoding="utf-8") as file:
        return file.read()


def _refuse(folder: str, files: dict[str, str], force: bool) -> None:
    """Nothing is overwritten that an earlier copy of the same version has not written."""
    taken = [name for name, text in files.items() if _differs(os.path.join(folder, name), text)]
    if taken and not force:
        listed = "\n".join(f"  {os.path.relpath(os.path.join(folder, name))}" for name in taken)
        raise UsageError(f"these files are there already, and `--force` replaces them:\n{listed}")


def _differs(path: str, text: str) -> bool:
    """Whether a file holds something else; our own list of what was copied may grow."""
    there = _there(path)
    if there is None or there == text:
        return False
    return os.path.basename(path) != "__init__.py" or _MARK not in there


def _write(path: str, text: str) -> bool:
    if _there(path) == text:
        return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    return True


def _there(path: str) -> str | None:
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
