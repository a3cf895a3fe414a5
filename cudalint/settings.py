"""The settings that a file is checked with: frozen, hashable, and all that rules may ask."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from cudalint import globs, registry, selection
from cudalint.globs import Pattern
from cudalint.gpus import DEFAULT_TARGETS, architecture
from cudalint.records import record
from cudalint.selection import Selection

if TYPE_CHECKING:
    from cudalint.model import Language, Severity
    from cudalint.registry import Rule

KernelSource = Literal["cudalint", "torch", "vendored"]
PrecisionPolicy = Literal["tf32", "bf16"]

CACHE_FOLDER = ".cudalint_cache"
# ruff's list, and our own cache.
EXCLUDE = (
    ".bzr",
    CACHE_FOLDER,
    ".direnv",
    ".eggs",
    ".git",
    ".git-rewrite",
    ".hg",
    ".mypy_cache",
    ".nox",
    ".pants.d",
    ".pytype",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".venv",
    "__pypackages__",
    "_build",
    "buck-out",
    "dist",
    "node_modules",
    "venv",
)
# What has no influence on findings and fixes, and so none on what a cache may keep.
_OUTSIDE = frozenset(
    {
        *("root", "origin", "selections", "hints", "cache_dir", "output_format"),
        *("exclude", "force_exclude", "respect_gitignore", "fix", "fix_only", "show_fixes"),
    }
)


@record(frozen=True)
class Settings:
    """One folder's settings; `Settings()` are the defaults."""

    root: str = ""
    origin: str | None = None
    selections: tuple[Selection, ...] = ()
    per_file_ignores: tuple[tuple[Pattern, tuple[str, ...]], ...] = ()
    hints: bool = False
    unsafe_fixes: bool = False
    ignore_noqa: bool = False
    exclude: tuple[Pattern, ...] = tuple(Pattern(name, "") for name in EXCLUDE)
    force_exclude: bool = False
    respect_gitignore: bool = True
    extension: tuple[tuple[str, Language], ...] = ()
    target_gpus: tuple[str, ...] = ()
    kernel_source: KernelSource = "cudalint"
    kernel_source_set: bool = False
    vendored_path: str = "cudalint_kernels"
    assume_compiled: bool = False
    precision_policy: PrecisionPolicy = "tf32"
    hot_functions: tuple[str, ...] = ()
    dataloader_workers: int = 4
    cache_dir: str = ""
    output_format: str = "full"
    fix: bool = False
    fix_only: bool = False
    show_fixes: bool = False

    @classmethod
    def selecting(cls, *selectors: str, **others: object) -> Settings:
        """The defaults with these rules alone."""
        return cls(selections=(Selection(select=selectors),), **others)  # type: ignore[arg-type]

    @cached_property
    def states(self) -> dict[str, selection.State]:
        """By code, whether a rule is on, a hint or off."""
        return selection.resolve(self.selections, self.hints)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that are on, hints included, in the registry's order."""
        return tuple(rule for rule in registry.RULES if self.states[rule.code] != "off")

    def rules_for(self, path: str) -> tuple[Rule, ...]:
        """The rules for a file: those that are on, less what `per-file-ignores` says of it.

        A stub has no bodies that could run: there only comments are looked at.
        """
        if path.endswith(".pyi"):
            return tuple(rule for rule in self._rules_for(path) if rule.by_engine)
        return self._rules_for(path)

    def _rules_for(self, path: str) -> tuple[Rule, ...]:
        if not self._ignores:
            return self.rules
        name = os.path.basename(path)
        off: frozenset[str] = frozenset()
        for matcher, inverted, codes in self._ignores:
            if matcher(path, name) != inverted:
                off |= codes
        return tuple(rule for rule in self.rules if rule.code not in off)

    @cached_property
    def _ignores(self) -> tuple[tuple[globs.Matcher, bool, frozenset[str]], ...]:
        made = []
        for pattern, selectors in self.per_file_ignores:
            inverted = pattern.text.startswith("!")
            bare = pattern._replace(text=pattern.text.removeprefix("!"))
            made.append((globs.matcher((bare,)), inverted, selection.codes(selectors)))
        return tuple(made)

    def severity(self, rule: Rule) -> Severity:
        """How a rule's findings are presented; hints are printed and do not count."""
        return "hint" if self.states[rule.code] == "hint" else rule.severity

    def fixable(self, rule: Rule) -> bool:
        """Whether the rule's fix may be offered."""
        return rule.code in self._fixable

    def fixable_by_name(self, code: str) -> bool:
        """Whether a rule's fix is asked for by the rule's own code or name."""
        return code in self._named

    @cached_property
    def _named(self) -> frozenset[str]:
        return selection.named_fixable(self.selections)

    @cached_property
    def _fixable(self) -> frozenset[str]:
        return selection.fixable(self.selections)

    @cached_property
    def languages(self) -> dict[str, Language]:
        """The languages that `extension` gives to suffixes (without the dot)."""
        return dict(self.extension)

    @cached_property
    def architectures(self) -> tuple[int, ...]:
        """The compute capabilities of the target GPUs: 80 for sm_80, lowest first."""
        return tuple(sorted({architecture(gpu) for gpu in self.target_gpus or DEFAULT_TARGETS}))

    def digest(self) -> str:
        """A key of all that findings and fixes depend on."""
        from hashlib import blake2b

        kept = [(n, getattr(self, n)) for n in self.__match_args__ if n not in _OUTSIDE]
        content = repr(
            (sorted(self.states.items()), sorted(self._fixable), sorted(self._named), kept)
        )
        return blake2b(content.encode(), digest_size=16).hexdigest()

    def __getstate__(self) -> dict[str, object]:
        """Pickle the fields alone, not what was computed from them."""
        return {name: getattr(self, name) for name in self.__match_args__}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)

    @property
    def excluded(self) -> globs.Matcher:
        """Whether a path is excluded by `exclude` and `extend-exclude`."""
        return globs.matcher(self.exclude)


def patterns(texts: Iterable[str], root: str) -> tuple[Pattern, ...]:
    """Patterns relative to a folder."""
    return tuple(Pattern(text, root) for text in texts)
