"""The facts of a CUDA file: macros, types, functions, launches, values of indices."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.conditionals import Branch, groups, is_hip
from cudalint.facts import Facts
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

    from cudalint.facts.cuda.functions import Function
    from cudalint.facts.cuda.launches import Launch
    from cudalint.facts.cuda.macros import Macro, Macros
    from cudalint.facts.cuda.types import Types
    from cudalint.facts.cuda.values import Values

_TORCH = lazy_compile(rb"#[ \t]*include[ \t]*[<\"](?:torch/|ATen/|c10/)|\b(?:at|torch)::Tensor\b")

_CONSTANT = lazy_compile(
    rb"\b(?:const|constexpr)\s+(?:static\s+)?(?:unsigned\s+)?(?:int|size_t|unsigned|uint32_t|int32_t|int64_t|long)"
    rb"\s+(\w+)\s*=\s*(\d+|0[xX][0-9a-fA-F]+)[uUlL]*\s*;"
)
_GROUP = lazy_compile(
    r"\b((?:\w+::)*(?:thread_block_tile\s*<[^;=]*>|thread_block|grid_group|auto))\s+(\w+)\s*=\s*([^;]+);"
)
_TILE = lazy_compile(r"(?:thread_block_tile|tiled_partition)\s*<\s*(\w+)")


class CudaFacts(Facts):
    """What is known about one CUDA file. The tree is that of the blanked text."""

    @cached_property
    def macros(self) -> Macros:
        from cudalint.facts.cuda.macros import Macros

        return Macros(self.text)

    @cached_property
    def types(self) -> Types:
        from cudalint.facts.cuda.types import Types

        return Types(self.text, self.macros)

    @cached_property
    def macro_trees(self) -> list[tuple[Macro, Tree]]:
        """The macros that hold kernels or launches, parsed as code of their own."""
        from cudalint.facts.cuda.functions import macro_trees

        return list(macro_trees(self))

    @cached_property
    def functions(self) -> list[Function]:
        """Every function definition, those inside macros last."""
        from cudalint.facts.cuda.functions import functions

        return functions(self)

    @cached_property
    def kernels(self) -> list[Function]:
        """The `__global__` functions whose bodies the grammar read."""
        return [one for one in self.functions if one.is_kernel and one.is_whole]

    @cached_property
    def by_name(self) -> dict[str, list[Function]]:
        """Functions by their last name; overloads and specialisations share one."""
        found: dict[str, list[Function]] = {}
        for function in self.functions:
            found.setdefault(function.name, []).append(function)
        return found

    @cached_property
    def launches(self) -> list[Launch]:
        from cudalint.facts.cuda.launches import launches

        return list(launches(self))

    @cached_property
    def error_checks(self) -> dict[Function, list[Node]]:
        """What `errors.checks` found, by function."""
        return {}

    @cached_property
    def callers(self) -> dict[Function, list[tuple[Function, Node]]]:
        """What `errors` found out about who calls whom."""
        return {}

    @cached_property
    def known_checks(self) -> dict[str, bool]:
        """What `errors.names_check` found, by name."""
        return {}

    @cached_property
    def is_torch(self) -> bool:
        """Whether the file is part of a PyTorch extension."""
        return _TORCH.search(self.text) is not None

    @cached_property
    def _function_starts(self) -> tuple[list[int], list[Function]]:
        ordered = sorted(self.functions, key=lambda one: one.node.start_byte)
        return [one.node.start_byte for one in ordered], ordered

    def enclosing(self, node: Node) -> Function | None:
        """The innermost function definition around a node."""
        starts, ordered = self._function_starts
        at = bisect_right(starts, node.start_byte)
        while at:
            at -= 1
            if ordered[at].node.end_byte >= node.end_byte:
                return ordered[at]
        return None

    @cached_property
    def _hip(self) -> list[Branch]:
        return [b for group in groups(self.text) for b in group.branches if is_hip(b)]

    def is_hip(self, offset: int) -> bool:
        """Whether an offset stands in a branch that only HIP compiles."""
        return any(branch.code <= offset < branch.end for branch in self._hip)

    def constant(self, name: str) -> int | None:
        """The integer that a name stands for in the file: `#define N 32`, `constexpr int N = 32`."""
        known = self.macros.constant(name)
        return known if known is not None else self._constants.get(name)

    @cached_property
    def _constants(self) -> dict[str, int]:
        found: dict[str, int] = {}
        seen: set[str] = set()
        for match in _CONSTANT.finditer(self.text):
            name = match.group(1).decode()
            number = int(match.group(2), 0)
            if found.setdefault(name, number) != number:
                seen.add(name)
        return {name: number for name, number in found.items() if name not in seen}

    def group_size(self, function: Function, owner: str) -> int | str | None:
        """The size of a cooperative group: `block`, `grid`, a number of lanes, or unknown."""
        for text in (owner, self._groups(function).get(owner, "")):
            for word, size in (("this_thread_block", "block"), ("this_grid", "grid")):
                if word in text:
                    return size
            if match := _TILE.search(text):
                return (
                    int(match.group(1))
                    if match.group(1).isdigit()
                    else self.constant(match.group(1))
                )
        return None

    def _groups(self, function: Function) -> dict[str, str]:
        text = function.text.decode("utf-8", "replace")
        return {m.group(2): m.group(1) + " " + m.group(3) for m in _GROUP.finditer(text)}

    def values(self, function: Function) -> Values:
        """The accesses and calls of a function, with what their indices depend on."""
        if function not in self._values:
            from cudalint.facts.cuda.values import Values

            self._values[function] = Values(function)
        return self._values[function]

    @cached_property
    def _values(self) -> dict[Function, Values]:
        return {}
