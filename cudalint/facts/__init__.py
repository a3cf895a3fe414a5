"""What checks and fixes may ask about a file: computed on demand, once, never about other files.

`Facts` is what every check gets. `PythonFacts` (cudalint.facts.python) and `CudaFacts`
(cudalint.facts.cuda) add what is known about their language.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.model import PackageFacts
from cudalint.parse import parse

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

    from cudalint.model import Source
    from cudalint.settings import Settings


__all__ = ["Facts", "PackageFacts"]


class Facts:
    """The source, its tree, the settings and the package's bits."""

    def __init__(self, source: Source, settings: Settings, package: PackageFacts) -> None:
        self.source = source
        self.text = source.text
        self.settings = settings
        self.package = package

    @cached_property
    def tree(self) -> Tree:
        return parse(self.source)

    @property
    def root(self) -> Node:
        return self.tree.root_node

    def code(self, node: Node) -> str:
        """The source text of a node."""
        return self.text[node.start_byte : node.end_byte].decode("utf-8", "replace")
