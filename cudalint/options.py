"""Every key of the configuration: its type, its default and what it means."""

from __future__ import annotations

from functools import cache
from typing import Any

from cudalint.formats import FORMATS
from cudalint.records import NamedTuple
from cudalint.settings import EXCLUDE


class Option(NamedTuple):
    """A key; `kind` is its type as it is printed, `choices` the values of a string that has few.

    `meaning` says what the default is where no value says it.
    """

    key: str
    kind: str
    default: Any
    doc: str
    example: str
    choices: tuple[str, ...] = ()
    meaning: str = ""


def _choice(key: str, choices: tuple[str, ...], doc: str) -> Option:
    kind = " | ".join(f'"{choice}"' for choice in choices)
    return Option(key, kind, choices[0], doc, f'{key} = "{choices[-1]}"', choices)


def _flag(key: str, doc: str, default: bool = False) -> Option:
    return Option(key, "bool", default, doc, f"{key} = {str(not default).lower()}")


def _list(key: str, doc: str, example: str, default: Any = (), meaning: str = "") -> Option:
    return Option(key, "list[str]", list(default), doc, f"{key} = [{example}]", (), meaning)


OPTIONS: tuple[Option, ...] = (
    _list(
        "select",
        "Rules to switch on, in place of the defaults: codes, prefixes of codes, names, or "
        '"ALL". The more specific selector wins; `ignore` wins a tie. A rule that is off by default '
        "is a hint when a prefix or ALL selects it, and counts when its code or name does.",
        '"CUS", "unfused-attention"',
        meaning="the rules that are on by default",
    ),
    _list("ignore", "Rules to switch off, as in `select`.", '"CUD001"'),
    _list("extend-select", "Rules to switch on beside the others.", '"CUE001"'),
    _list("fixable", "Rules whose fixes may be offered.", '"CUP"', ["ALL"]),
    _list("unfixable", "Rules whose fixes are never offered.", '"CUF"'),
    _list("extend-fixable", "Rules whose fixes may be offered beside those of `fixable`.", '"CUK"'),
    Option(
        "per-file-ignores",
        "dict[str, list[str]]",
        {},
        "Rules to switch off in the files that a pattern matches; a leading `!` inverts it.",
        'per-file-ignores = { "tests/*" = ["CUS", "CUD"] }',
    ),
    Option(
        "extend-per-file-ignores",
        "dict[str, list[str]]",
        {},
        "As `per-file-ignores`, added to what is there.",
        'extend-per-file-ignores = { "legacy.py" = ["ALL"] }',
    ),
    _flag(
        "hints", "Print hints too: advice that is true only for some workloads. They never count."
    ),
    _flag("fix", "Apply fixes when `cudalint check` runs."),
    _flag(
        "unsafe-fixes", "Offer and apply fixes that are right in nearly all programs, not in all."
    ),
    _flag("fix-only", "Apply fixes and report nothing that is left."),
    _flag("show-fixes", "List what was fixed, file by file."),
    _choice("output-format", FORMATS, "How findings are written."),
    _list(
        "exclude",
        "Files and folders to leave out: names, globs, or paths relative to the configuration.",
        '".venv", "third_party"',
        EXCLUDE,
    ),
    _list("extend-exclude", "More to leave out, beside `exclude`.", '"generated/*.cu"'),
    _flag(
        "force-exclude", "Leave excluded files out even when they are named on the command line."
    ),
    _flag("respect-gitignore", "Leave out what git ignores.", True),
    Option(
        "extension",
        "dict[str, str]",
        {},
        "Languages of further suffixes: `python` or `cuda`.",
        'extension = { inl = "cuda" }',
    ),
    _list(
        "target-gpus",
        "The GPUs that the program is for, by name or architecture; they decide which precisions "
        "and instructions are there.",
        '"h100", "sm_75"',
        meaning="sm_80 and newer",
    ),
    _choice(
        "kernel-source",
        ("cudalint", "torch", "vendored"),
        "What a fusion fix writes: cudalint's kernel, torch's own function where there is one, or "
        "the copy under `vendored-path`. Setting it allows fixes that import kernels.",
    ),
    Option(
        "vendored-path",
        "str",
        "cudalint_kernels",
        'The folder of vendored kernels, for `kernel-source = "vendored"`.',
        'vendored-path = "src/project/kernels"',
    ),
    _flag(
        "assume-compiled",
        "The models run under torch.compile: what inductor fuses anyway is left alone.",
    ),
    _choice(
        "precision-policy",
        ("tf32", "bf16"),
        "What is written where a program runs in full FP32: TF32 matrix products, or bfloat16 "
        "autocast as well.",
    ),
    _list(
        "hot-functions",
        "Functions that run every step, beside those that the loops show: names, or dotted names.",
        '"decode_one_token", "Engine.step"',
    ),
    Option(
        "dataloader-workers",
        "int",
        4,
        "The `num_workers` that a fix writes.",
        "dataloader-workers = 8",
    ),
    Option(
        "cache-dir",
        "str",
        ".cudalint_cache",
        "Where results are kept, relative to the configuration.",
        'cache-dir = "~/.cache/cudalint"',
    ),
)


@cache
def by_key() -> dict[str, Option]:
    return {option.key: option for option in OPTIONS}


def nearest(key: str) -> str:
    """A clause that names the known key nearest to an unknown one."""
    from difflib import get_close_matches

    plain = key.replace("_", "-").lower()
    match = get_close_matches(plain, by_key(), 1, 0.5)
    return f"; did you mean `{match[0]}`?" if match else "; `cudalint config` lists all keys"
