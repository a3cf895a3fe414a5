"""Generated pages are fresh, and what the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cudalint.registry import RULES
from tests.docs.markdown import prose
from tools.rule_pages import TARGET, render

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_rule_pages_are_fresh() -> None:
    assert TARGET.read_text(encoding="utf-8") == render(), "run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = prose(document.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
        assert (document.parent / target).exists(), target


def test_every_rule_has_its_note_on_precision() -> None:
    text = (ROOT / "docs" / "precision.md").read_text(encoding="utf-8")
    for rule in RULES:
        if rule.family != "own":
            assert re.search(rf"^### {rule.code} {rule.name}$", text, re.MULTILINE), rule.code
