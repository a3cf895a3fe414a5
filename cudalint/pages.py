"""The page of a rule: its check's docstring, and what the registry says of it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cudalint.registry import Rule


class Page(NamedTuple):
    """`summary` is the first sentence, `body` the sections after it, in Markdown."""

    summary: str
    body: str

    def section(self, title: str) -> str:
        """The text under a heading."""
        _, _, rest = f"\n{self.body}".partition(f"\n## {title}\n")
        return rest.partition("\n## ")[0].strip()


def page(rule: Rule) -> Page:
    """The page of a rule; one whose check has no module has its name alone."""
    text = inspect.cleandoc(_docstring(rule))
    summary, _, body = text.partition("\n\n")
    return Page(" ".join(summary.split()) or rule.name, body.strip())


def _docstring(rule: Rule) -> str:
    try:
        return rule.load_check().__doc__ or ""
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("cudalint.checks"):
            raise
        return ""


def facts(rule: Rule) -> str:
    """What the registry says, in one line."""
    fix = {
        "safe": "a fix is offered, safe at best",
        "unsafe": "a fix is offered, unsafe at best",
        "displayonly": "a fix is shown, never applied",
        None: "advice, no fix",
    }[rule.fix]
    default = "on by default" if rule.on else "a hint, off by default"
    severity = f"{rule.severity} · " if rule.on else ""
    languages = " and ".join({"python": "Python", "cuda": "CUDA"}[name] for name in rule.languages)
    return f"{languages} · {default} · {severity}{fix}"
