"""CUDA sources in the strings of a Python file: `load_inline`, CuPy's and PyCUDA's kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.blank import spaces
from cudalint.lazy import lazy_compile
from cudalint.model import Source

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

WORD = b"__global__"
_KERNEL = lazy_compile(rb"__global__[^;{}]*\([^;{}]*\)\s*\{")
_COMPILERS = lazy_compile(
    rb"\b(?:load_inline|RawKernel|RawModule|SourceModule|cupy|pycuda|nvrtc)\b"
)
_FORMATTED = lazy_compile(rb"%\(\w+\)|\{\{|\$\{|<%|\{\w*\}")  # a template, not yet a source


def embedded(facts: PythonFacts) -> Source | None:
    """The file's CUDA strings as one CUDA source, all else blanked and every offset kept."""
    text = facts.text
    if WORD not in text or not _COMPILERS.search(text):
        return None
    pieces: dict[int, int] = {}
    at = text.find(WORD)
    while at >= 0:
        node = facts.root.descendant_for_byte_range(at, at + len(WORD))
        if node is not None and node.type == "string_content" and _is_source(node):
            pieces[node.start_byte] = node.end_byte
        at = text.find(WORD, at + 1)
    if not pieces:
        return None
    made, end = [], 0
    for low in sorted(pieces):
        made += [spaces(text[end:low]), text[low : pieces[low]]]
        end = pieces[low]
    made.append(spaces(text[end:]))
    return Source(facts.source.path, b"".join(made), "cuda")


def _is_source(content: Node) -> bool:
    string, text = content.parent, content.text or b""
    if string is None or string.type != "string" or not _KERNEL.search(text):
        return False
    prefix = (string.children[0].text or b"").lower()
    return b"f" not in prefix and not _FORMATTED.search(text)
