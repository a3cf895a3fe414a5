"""`cudalint rule`: the pages of rules, from their checks' docstrings; torch is never loaded."""

from __future__ import annotations

from typing import Any

from cudalint import registry, selection
from cudalint.errors import UsageError
from cudalint.pages import facts, page
from cudalint.registry import Rule
from cudalint.render.terminal import say


def explain(selector: str | None, everything: bool, output_format: str) -> int:
    """Print the page of a rule or of all; with neither, a line for every rule."""
    if selector and everything:
        raise UsageError("a rule or `--all`, not both")
    if selector is None and not everything:
        rules = registry.RULES
        say(_dump([_facts(rule) for rule in rules]) if output_format == "json" else _table())
        return 0
    chosen = registry.RULES if selector is None else (_one(selector),)
    if output_format == "json":
        pages = [{**_facts(rule), **page(rule)._asdict()} for rule in chosen]
        say(_dump(pages if everything else pages[0]))
    else:
        say("\n\n".join(_text(rule) for rule in chosen))
    return 0


def _one(selector: str) -> Rule:
    if not selection.is_exact(selector):
        raise UsageError(f"unknown rule `{selector}`{selection.nearest(selector)}")
    return registry.find(selector)[0]


def _text(rule: Rule) -> str:
    text = page(rule)
    parts = [f"# {rule.name} ({rule.code})", facts(rule), text.summary, text.body]
    return "\n\n".join(part for part in parts if part)


def _facts(rule: Rule) -> dict[str, Any]:
    return {
        "code": rule.code,
        "name": rule.name,
        "family": rule.family,
        "languages": list(rule.languages),
        "default": rule.on,
        "severity": rule.severity if rule.on else "hint",
        "fix": rule.fix,
        "url": rule.url,
    }


def _table() -> str:
    wide = max(len(rule.name) for rule in registry.RULES)
    return "\n".join(f"{rule.code}  {rule.name:<{wide}}  {facts(rule)}" for rule in registry.RULES)


def _dump(value: Any) -> str:
    from json import dumps

    return dumps(value, indent=2)
