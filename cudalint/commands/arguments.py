"""Options as they are typed to keys of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cudalint.errors import UsageError
from cudalint.lazy import lazy_compile

_COMMA = lazy_compile(r",(?![^{]*\})")  # a comma within braces belongs to a glob
# Options that are keys of the configuration.
_LISTS = (
    *("select", "ignore", "extend_select", "fixable", "unfixable", "extend_fixable"),
    *("exclude", "extend_exclude", "target_gpus"),
)
_SCALARS = (
    *("fix", "unsafe_fixes", "show_fixes", "fix_only", "hints", "output_format", "cache_dir"),
    *("respect_gitignore", "force_exclude"),
)
_TABLES = ("per_file_ignores", "extend_per_file_ignores")


def flags(options: dict[str, Any]) -> dict[str, Any]:
    """The keys that the options set; those options are taken out."""
    keys: dict[str, Any] = {}
    for name in _LISTS:
        if values := options.pop(name):
            keys[_key(name)] = list(_split(values))
    for name in _SCALARS:
        if (value := options.pop(name)) is not None:
            keys[_key(name)] = value
    for name in _TABLES:
        if values := options.pop(name):
            keys[_key(name)] = _per_file(values, _key(name))
    if values := options.pop("extension"):
        keys["extension"] = dict(_pair(text, "extension") for text in _split(values))
    if keys.get("fix-only"):
        keys["fix"] = True
    return keys


def _key(name: str) -> str:
    return name.replace("_", "-")


def _split(values: Iterable[str]) -> Iterable[str]:
    for value in values:
        yield from (part.strip() for part in _COMMA.split(value) if part.strip())


def _per_file(values: Iterable[str], key: str) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for text in _split(values):
        pattern, selector = _pair(text, key)
        table.setdefault(pattern, []).append(selector)
    return table


def _pair(text: str, key: str) -> tuple[str, str]:
    left, colon, right = text.rpartition(":")
    if not (left and colon and right):
        form = "SUFFIX:LANGUAGE" if key == "extension" else "PATTERN:RULE"
        raise UsageError(f"`--{key} {text}`: {form} is expected")
    return left.strip(), right.strip()
