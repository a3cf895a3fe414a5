"""Source to syntax tree, by tree-sitter for all languages: fast and tolerant of errors."""

from __future__ import annotations

from functools import cache

from tree_sitter import Language, Parser, Tree

from cudalint.model import Source


@cache
def language(name: str) -> Language:
    """The grammar of a language; the CUDA one is only loaded where a CUDA file is read."""
    if name == "cuda":
        import tree_sitter_cuda

        return Language(tree_sitter_cuda.language())
    import tree_sitter_python

    return Language(tree_sitter_python.language())


@cache
def _parser(name: str) -> Parser:
    return Parser(language(name))


def parse(source: Source) -> Tree:
    """The tree of a source; offsets are those of `source.text`, whatever was blanked before."""
    text = source.text
    if source.language == "cuda":
        from cudalint.blank import blanked

        text = blanked(text)
    return _parser(source.language).parse(text)
