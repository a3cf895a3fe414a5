"""The engine on a piece of text, with the rules of a fixture alone."""

from __future__ import annotations

import os

from cudalint import engine
from cudalint.config import Configuration
from cudalint.diagnostics import diagnostics
from cudalint.fixing import Fixed
from cudalint.fixing import fix as fix_source
from cudalint.model import Language, PackageFacts, Source
from cudalint.settings import Settings


def settings_for(codes: tuple[str, ...], config: str = "") -> Settings:
    """Settings that select these rules alone and allow all their fixes, by name.

    `config` holds further `KEY = VALUE` pairs, separated by semicolons.
    """
    flags = {"select": list(codes), "extend-fixable": list(codes), "unsafe-fixes": True}
    pairs = [pair.strip() for pair in config.split(";") if pair.strip()]
    return Configuration(config=pairs, isolated=True, flags=flags).of(os.getcwd())


def found(
    text: str, codes: tuple[str, ...], language: Language = "python", config: str = ""
) -> list[tuple[int, str]]:
    """The (row, code) pairs of the findings in a text; a crash of a rule raises."""
    settings = settings_for(codes, config)
    analysis = engine.analyse(_source(text, language), settings.rules, settings, PackageFacts())
    assert not analysis.errors, analysis.errors
    made = diagnostics(analysis, settings, edits=True)
    assert not analysis.errors, analysis.errors
    return sorted((diagnostic.start.row, diagnostic.code) for diagnostic in made)


def fixed(
    text: str, codes: tuple[str, ...], language: Language = "python", config: str = ""
) -> Fixed:
    """The text after all fixes, unsafe ones included; a crash of a rule raises."""
    settings = settings_for(codes, config)
    done = fix_source(_source(text, language), settings.rules, settings, PackageFacts())
    assert not done.errors and not done.analysis.errors, (done.errors, done.analysis.errors)
    assert not done.withdrawn, done.withdrawn
    return done


def _source(text: str, language: Language) -> Source:
    name = "before.cu" if language == "cuda" else "before.py"
    return Source(name, text.encode("utf-8"), language)
