"""Configuration files and command line to `Settings`: which file counts, and what may stand in it.

The nearest `cudalint.toml`, or `pyproject.toml` with a `[tool.cudalint]` table, is a folder's
configuration. TOML is only parsed where a file's bytes name cudalint.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from cudalint import selection
from cudalint.errors import UsageError
from cudalint.globs import Pattern
from cudalint.records import NamedTuple
from cudalint.selection import Selection
from cudalint.settings import CACHE_FOLDER, EXCLUDE, Settings, patterns

if TYPE_CHECKING:
    from cudalint.options import Option

OWN, PROJECT = "cudalint.toml", "pyproject.toml"
FILES = frozenset({OWN, PROJECT})
_SELECTORS = Selection._fields
_LANGUAGES = ("python", "cuda")


class Layer(NamedTuple):
    """Keys that were set in one place. `origin` names the place in messages."""

    values: Mapping[str, Any]
    root: str
    origin: str


class Configuration:
    """Finds the settings of a folder, and puts the command line above them."""

    def __init__(
        self,
        *,
        config: Sequence[str] = (),
        isolated: bool = False,
        flags: Mapping[str, Any] | None = None,
        ignore_noqa: bool = False,
    ) -> None:
        self.cwd = os.getcwd()
        self.isolated = isolated
        self.ignore_noqa = ignore_noqa
        self.given: Layer | None = None
        self.above: list[Layer] = []
        for text in config:
            self._add(text)
        self.above.append(layer(flags or {}, self.cwd, "the command line"))
        self._settings: dict[tuple[str, bool], Settings] = {}
        self._nearest: dict[str, Layer | None] = {}
        self._depends: dict[str, bool] = {}

    def _add(self, text: str) -> None:
        """A `--config` value: a file, or `KEY = VALUE`."""
        if os.path.isfile(text):
            if self.given is not None:
                raise UsageError("`--config` names two files; only one can be the configuration")
            path = os.path.abspath(text)
            values = table(path) if os.path.basename(path) == PROJECT else _read(path)
            # as in ruff, what it says of paths is relative to the current folder
            self.given = layer(values or {}, self.cwd, path)
            return
        try:
            values = _loads(text)
        except ValueError:
            raise UsageError(
                f"`--config {text}`: neither a file nor a TOML `KEY = VALUE`"
            ) from None
        self.above.append(layer(values, self.cwd, f"`--config {text}`"))

    def of(self, folder: str) -> Settings:
        """The settings of an absolute folder."""
        found = None if self.isolated else self.given or self._layer(folder)
        depends = not self.isolated and self._depends_on_us(folder)
        key = (found.origin if found else "", depends)
        if key not in self._settings:
            layers = [*([found] if found else []), *self.above]
            self._settings[key] = self._built(layers, found, depends)
        return self._settings[key]

    def _layer(self, folder: str) -> Layer | None:
        """The configuration file that is nearest to a folder."""
        if folder not in self._nearest:
            found = _in_folder(folder)
            parent = os.path.dirname(folder)
            if found is None and parent != folder:
                found = self._layer(parent)
            self._nearest[folder] = found
        return self._nearest[folder]

    def _depends_on_us(self, folder: str) -> bool:
        """Whether the nearest `pyproject.toml` has cudalint among its dependencies."""
        if folder not in self._depends:
            path, parent = os.path.join(folder, PROJECT), os.path.dirname(folder)
            if os.path.isfile(path):
                self._depends[folder] = _names_us(path) and _is_dependency(_read(path))
            else:
                self._depends[folder] = parent != folder and self._depends_on_us(parent)
        return self._depends[folder]

    def _built(self, layers: list[Layer], found: Layer | None, depends: bool) -> Settings:
        merged: dict[str, Any] = {}
        for each in layers:
            merged.update(each.values)
        fields = {k.replace("-", "_"): v for k, v in merged.items() if k not in _COMPOSED}
        root = found.root if found else self.cwd
        return Settings(
            root=root,
            origin=found.origin if found else None,
            selections=tuple(_selection(each.values) for each in layers),
            per_file_ignores=_per_file_ignores(layers),
            exclude=_exclude(layers),
            ignore_noqa=self.ignore_noqa,
            kernel_source_set=depends or "kernel-source" in merged,
            cache_dir=_cache_dir(layers, root),
            **fields,
        )


# Keys whose layers are put together; of all others the last layer's value counts.
_COMPOSED = frozenset(
    {
        *(name.replace("_", "-") for name in _SELECTORS),
        *("exclude", "extend-exclude", "per-file-ignores", "extend-per-file-ignores", "cache-dir"),
    }
)


def layer(values: Mapping[str, Any], root: str, origin: str) -> Layer:
    """A layer whose keys are known and whose values have the right types."""
    if not values:
        return Layer({}, root, origin)
    from cudalint.gpus import architecture
    from cudalint.options import by_key, nearest

    checked: dict[str, Any] = {}
    for key, value in values.items():
        option = by_key().get(key)
        if option is None:
            raise UsageError(f"unknown key `{key}` in {origin}{nearest(key)}")
        checked[key] = _checked(option, value, origin)
    for key in (name.replace("_", "-") for name in _SELECTORS):
        selection.verify(checked.get(key, ()), key, origin)
    for key in ("per-file-ignores", "extend-per-file-ignores"):
        for _, selectors in checked.get(key, ()):
            selection.verify(selectors, key, origin)
    for gpu in checked.get("target-gpus", ()):
        architecture(gpu)
    return Layer(checked, root, origin)


def _checked(option: Option, value: Any, origin: str) -> Any:
    """The value in its frozen form; a wrong type or choice is refused."""
    kind = option.kind
    if kind == "dict[str, str]":
        if isinstance(value, dict) and all(v in _LANGUAGES for v in value.values()):
            return tuple((suffix.lstrip("."), language) for suffix, language in value.items())
        kind = 'a table whose values are "python" or "cuda"'
    elif kind == "dict[str, list[str]]":
        if isinstance(value, dict) and all(_is_strings(v) for v in value.values()):
            return tuple((pattern, tuple(selectors)) for pattern, selectors in value.items())
    elif kind == "list[str]":
        if _is_strings(value):
            return tuple(value)
    elif _is_scalar(option, value):
        return value
    raise UsageError(f"`{option.key}` in {origin} must be {kind}, not {_shown(value)}")


def _is_scalar(option: Option, value: Any) -> bool:
    if option.kind == "bool":
        return isinstance(value, bool)
    if option.kind == "int":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, str) and (option.kind == "str" or value in option.choices)


def _is_strings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def _shown(value: Any) -> str:
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return f"`{text}`"


def _selection(values: Mapping[str, Any]) -> Selection:
    present = {name: values.get(name.replace("_", "-")) for name in _SELECTORS}
    return Selection(**{name: value for name, value in present.items() if value is not None})


def _per_file_ignores(layers: list[Layer]) -> tuple[tuple[Pattern, tuple[str, ...]], ...]:
    """The last layer's table, and every layer's additions to it."""
    chosen: list[tuple[Pattern, tuple[str, ...]]] = []
    added: list[tuple[Pattern, tuple[str, ...]]] = []
    for each in layers:
        if "per-file-ignores" in each.values:
            chosen = [(Pattern(p, each.root), s) for p, s in each.values["per-file-ignores"]]
        more = each.values.get("extend-per-file-ignores", ())
        added += [(Pattern(p, each.root), s) for p, s in more]
    return (*chosen, *added)


def _exclude(layers: list[Layer]) -> tuple[Pattern, ...]:
    chosen = patterns(EXCLUDE, "")
    added: tuple[Pattern, ...] = ()
    for each in layers:
        if "exclude" in each.values:
            chosen = patterns(each.values["exclude"], each.root)
        added += patterns(each.values.get("extend-exclude", ()), each.root)
    return chosen + added


def _cache_dir(layers: list[Layer], root: str) -> str:
    for each in reversed(layers):
        if "cache-dir" in each.values:
            return str(os.path.join(each.root, os.path.expanduser(each.values["cache-dir"])))
    given = os.environ.get("CUDALINT_CACHE_DIR")
    return os.path.abspath(given) if given else os.path.join(root, CACHE_FOLDER)


def _in_folder(folder: str) -> Layer | None:
    own = os.path.join(folder, OWN)
    if os.path.isfile(own):
        return layer(_read(own), folder, own)
    project = os.path.join(folder, PROJECT)
    if not os.path.isfile(project) or (values := table(project)) is None:
        return None
    return layer(values, folder, project)


def table(path: str) -> Mapping[str, Any] | None:
    """The `[tool.cudalint]` table of a `pyproject.toml`, or None."""
    if not _names_us(path):
        return None
    values = _dig(_read(path), "tool", "cudalint")
    if values is not None and not isinstance(values, dict):
        raise UsageError(f"`tool.cudalint` in {path} must be a table")
    return cast("Mapping[str, Any] | None", values)


def _names_us(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"cudalint" in file.read().lower()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return _loads(file.read().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # TOML and UTF-8 errors both
        raise UsageError(f"{path}: not valid TOML: {error}") from None


def _loads(text: str) -> dict[str, Any]:
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return cast("dict[str, Any]", toml.loads(text))


def _is_dependency(document: Mapping[str, Any]) -> bool:
    """Whether the project's code may import cudalint: a dependency of its own, not of a tool."""
    listed = _dig(document, "project", "dependencies")
    poetry = _dig(document, "tool", "poetry", "dependencies")
    if isinstance(poetry, dict) and "cudalint" in poetry:
        return True
    return isinstance(listed, list) and any(
        isinstance(item, str) and re.match(r"\s*cudalint(?![\w.-])", item, re.IGNORECASE)
        for item in listed
    )


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
