"""Source to syntax tree, by tree-sitter for all languages: fast and tolerant of errors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec

from tree_sitter import Language, Parser, Range, Tree

from cudalint.model import Source


@cache
def language(name: str) -> Language:
    """The grammar of a language; the CUDA one is only loaded where a CUDA file is read."""
    return Language(_grammar(f"tree_sitter_{name}"))


def _grammar(package: str) -> object:
    """The grammar in a package's C part; its Python part, for queries that nobody asks, takes 16 ms."""
    found = find_spec(package)
    folders = found.submodule_search_locations if found is not None else None
    spec = PathFinder.find_spec(f"{package}._binding", folders) if folders else None
    if spec is None or spec.loader is None:
        return import_module(package).language()
    binding = module_from_spec(spec)
    spec.loader.exec_module(binding)
    return binding.language()


@cache
def _parser(name: str) -> Parser:
    return Parser(language(name))


def parse(source: Source, ranges: Sequence[tuple[int, int]] = ()) -> Tree:
    """The tree of a source; offsets are those of `source.text`, whatever was blanked before.

    Of Python code `ranges` of bytes can be parsed alone, as if nothing stood between them.
    """
    text = source.text
    if source.language == "cuda":
        from cudalint.blank import blanked

        text = blanked(text)
    parser = _parser(source.language)
    parser.included_ranges = [Range((0, 0), (0, 0), *each) for each in ranges]
    return parser.parse(text)
