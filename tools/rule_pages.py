"""`python -m tools.rule_pages`: write docs/rules.md from the checks; `--check` only compares."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from cudalint.registry import RULES, Rule

TARGET = Path(__file__).resolve().parents[1] / "docs" / "rules.md"
HEAD = """# Rules

Written by `make docs` from the docstrings of the checks; do not edit. `cudalint rule CODE` prints
the same pages.
"""


def render() -> str:
    """All pages, in the registry's order."""
    table = ["| code | name | default | fix |", "| --- | --- | --- | --- |"]
    table += [
        f"| {rule.code} | [{rule.name}](#{rule.name}) | {'on' if rule.on else 'hint'} "
        f"| {rule.fix or 'advice'} |"
        for rule in RULES
    ]
    return "\n".join([HEAD, *table, "", *map(_page, RULES)]).rstrip() + "\n"


def _page(rule: Rule) -> str:
    text = inspect.cleandoc(rule.load_check().__doc__ or "")
    summary, _, rest = text.partition("\n")
    body = rest.replace("\n## ", "\n### ")
    return f"## {rule.name}\n\n**{rule.code}**: {summary}\n{body}\n"


def main(arguments: list[str]) -> int:
    """Write or compare; 1 where the file is stale."""
    made = render()
    if arguments == ["--check"]:
        fresh = TARGET.exists() and TARGET.read_text(encoding="utf-8") == made
        print("docs/rules.md is fresh" if fresh else "docs/rules.md is stale: run `make docs`")
        return 0 if fresh else 1
    TARGET.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
