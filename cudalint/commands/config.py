"""`cudalint config`: the keys of the configuration; and the settings of one file."""

from __future__ import annotations

import textwrap
from typing import Any

from cudalint.errors import UsageError
from cudalint.options import OPTIONS, Option, by_key, nearest
from cudalint.render.terminal import say
from cudalint.settings import Settings


def describe(key: str | None, output_format: str) -> int:
    """Print all keys, or one."""
    if key is not None and key not in by_key():
        raise UsageError(f"unknown key `{key}`{nearest(key)}")
    options = OPTIONS if key is None else (by_key()[key],)
    if output_format == "json":
        from json import dumps

        objects = [_object(option) for option in options]
        say(dumps(objects if key is None else objects[0], indent=2))
    else:
        say("\n\n".join(_text(option) for option in options))
    return 0


def _object(option: Option) -> dict[str, Any]:
    return {
        "key": option.key,
        "type": option.kind,
        "default": option.meaning or option.default,
        "doc": option.doc,
        "example": option.example,
    }


def _text(option: Option) -> str:
    doc = textwrap.fill(option.doc, 88, initial_indent="    ", subsequent_indent="    ")
    default = textwrap.fill(
        f"Default: {option.meaning or _toml(option.default)}",
        88,
        initial_indent="    ",
        subsequent_indent="    ",
    )
    return f"{option.key}: {option.kind}\n{doc}\n{default}\n    Example: {option.example}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def resolved(path: str, settings: Settings) -> str:
    """The settings of a file, as `--show-settings` prints them."""
    lines = [f"# {path}", f"# from {settings.origin or 'the defaults'}", ""]
    rules = settings.rules_for(path)
    lines.append("rules = [")
    for rule in rules:
        mark = ", a hint" if settings.severity(rule) == "hint" else ""
        mark += "" if settings.fixable(rule) else ", not fixed"
        lines.append(f'  "{rule.code}",  # {rule.name}{mark}')
    lines.append("]")
    for name in settings.__match_args__:
        if name not in _ELSEWHERE:
            value = getattr(settings, name)
            lines.append(f"{name.replace('_', '-')} = {_toml(value)}")
    excluded = ", ".join(_toml(pattern.text) for pattern in settings.exclude)
    lines.append(f"exclude = [{excluded}]")
    lines += [
        f"per-file-ignores.{_toml(p.text)} = {_toml(s)}" for p, s in settings.per_file_ignores
    ]
    lines += [f'extension.{suffix} = "{language}"' for suffix, language in settings.extension]
    return "\n".join(lines) + "\n"


_ELSEWHERE = frozenset(
    {
        "root",
        "origin",
        "selections",
        "exclude",
        "per_file_ignores",
        "extension",
        "kernel_source_set",
    }
)
