"""What checks and fixes may ask about a file: computed on demand, once, never about other files.

`Facts` is what every check gets. `PythonFacts` (cudalint.facts.python) and `CudaFacts`
(cudalint.facts.cuda) add what is known about their language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.trees import Parts, Whole
from cudalint.model import PackageFacts

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
        self.trees: Whole | Parts = Whole(source)

    @property
    def tree(self) -> Tree:
        return self.trees.tree

    @property
    def root(self) -> Node:
        return self.trees.tree.root_node

    def at(self, start: int, end: int) -> Node | None:
        """The innermost node around a range of bytes."""
        return self.trees.at(start, end)

    def code(self, node: Node) -> str:
        """The source text of a node."""
        return self.text[node.start_byte : node.end_byte].decode("utf-8", "replace")
