"""Batches: where a loader's batches are, where they go, and who makes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from cudalint.facts.devices import CPU, CUDA
from cudalint.facts.flow import LOOPS, ancestors, walk, within
from cudalint.facts.loaders.options import POSITIONS
from cudalint.facts.tensors.definitions import class_of, returned
from cudalint.lazy import Worded

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts
    from cudalint.facts.tensors.values import Value

Collated = Literal["plain", "own", "elsewhere"]

_PLACES = Worded(("device", "cuda"), r"\bdevice\s*=|\bcuda\b")
_HOLDS_DATA = ("random_split", "Subset", "ConcatDataset", "ChainDataset")
_DEPTH = 6


class Batches:
    """What the loaders of one file yield."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts

    def collated(self, batch: Value) -> Collated:
        """Who makes the batches that a value is (part of): a class of the file whose copy takes no
        `non_blocking`, a function of another file, or torch and functions of this file."""
        collate = (
            self.facts.loaders.argument(batch.node, "collate_fn")
            if batch.node is not None
            else None
        )
        if collate is None or collate.type in ("none", "lambda"):
            return "plain"
        definition = self.facts.names.definition(collate)
        if definition is None or definition.type != "function_definition":
            return "elsewhere"
        made = returned(self.facts, definition)
        method = class_of(self.facts, made.node, "to") if made.node is not None else None
        if made.kind != "object":
            return "plain"
        takes = method is not None and re.search(r"non_blocking|\*\*", self.facts.code(method))
        return "plain" if takes else "own"

    # -- uses ---------------------------------------------------------------------------------

    def feeds_cuda(self, call: Node) -> bool:
        """Whether a construction's batches may reach the GPU, from pageable memory.

        False where they are on it already, and where the loader is a name whose every use in the
        file is a loop that moves nothing and calls no module.
        """
        if self.yields_cuda(call) or self.facts.devices.sets_default:
            return False
        if self._draws_numbers(call) or self._is_uncollated(call):
            return False
        statement = call.parent
        target = statement.child_by_field_name("left") if statement is not None else None
        if statement is None or statement.type != "assignment" or target is None:
            return True
        if target.type != "identifier":
            return True
        uses = [use for use in self.facts.identifiers(self.facts.code(target)) if use != target]
        return not uses or any(self._may_feed(use, target) for use in uses)

    def _is_uncollated(self, call: Node) -> bool:
        """Whether batches are bare lists of samples, which are prompts more often than tensors."""
        collate = self.facts.loaders.argument(call, "collate_fn")
        if collate is None:
            return False
        if collate.type == "lambda":
            body, given = (
                collate.child_by_field_name("body"),
                collate.child_by_field_name("parameters"),
            )
            return body is not None and given is not None and body.text == given.text
        return self.facts.names.qualified(collate) == "builtins.list"

    def _draws_numbers(self, call: Node) -> bool:
        """Whether the dataset is empty, or a range: indices into something else."""
        dataset = self.facts.loaders.argument(call, "dataset")
        return dataset is not None and self._is_range(dataset, 0)

    def _is_range(self, node: Node, depth: int) -> bool:
        if node.type == "identifier" and depth < _DEPTH:
            values = [binding.value for binding in self.facts.flow.reaching(node)]
            return bool(values) and all(
                v is not None and self._is_range(v, depth + 1) for v in values
            )
        if self.facts.code(node) == "[]":
            return True
        callee = self.facts.names.callee(node) if node.type == "call" else None
        if callee in ("builtins.list", "torch.utils.data.TensorDataset"):
            given = self.facts.names.arguments(node).positional
            return len(given) == 1 and self._is_range(given[0], depth + 1)
        return callee in ("builtins.range", "torch.arange", "torch.randperm")

    def _may_feed(self, use: Node, target: Node) -> bool:
        if self.facts.names.lookup(use) != self.facts.names.lookup(target):
            return False
        loop = next((n for n in ancestors(use) if n.type in LOOPS), None)
        right = loop.child_by_field_name("right") if loop is not None else None
        if loop is None or right is None or not within(use, right):
            parent = use.parent  # `len(loader)` and `loader.dataset` move nothing
            return (
                parent is None
                or parent.type not in ("attribute", "argument_list")
                or (
                    parent.type == "argument_list"
                    and self.facts.code(parent.parent or use)[:4] != "len("
                )
            )
        return _says_where(self.facts.code(loop)) or any(
            self.facts.loops.steps.is_model_call(node) for node in walk(loop) if node.type == "call"
        )

    # -- datasets -----------------------------------------------------------------------------

    def yields_cuda(self, call: Node) -> bool:
        """Whether the batches of a construction may be on the GPU already: pinning would raise."""
        given = self.facts.loaders.arguments(call)
        collate = given.get("collate_fn", POSITIONS["collate_fn"])
        if collate is not None and self._moves(collate):
            return True
        generator = given.keywords.get("generator")
        if generator is not None and "cuda" in self.facts.code(generator):
            return True
        dataset = given.get("dataset", 0)
        return dataset is not None and self._dataset_moves(dataset, 0)

    def _moves(self, function: Node) -> bool:
        """Whether a collate function moves tensors, by its text where it is in the file."""
        if function.type in ("identifier", "attribute"):
            definition = self.facts.names.definition(function)
            if definition is None and function.type == "identifier":
                values = [b.value for b in self.facts.flow.reaching(function) if b.value]
                return any(v.type != "identifier" and self._moves(v) for v in values)
            return definition is not None and self._text_moves(definition)
        if function.type == "call":
            inner = self.facts.names.arguments(function).positional[:1]
            held = self.facts.names.definition(function.children[0])
            if held is not None and self._text_moves(held):
                return True
            return _says_where(self.facts.code(function)) or any(map(self._moves, inner))
        return _says_where(self.facts.code(function))

    def _text_moves(self, definition: Node) -> bool:
        """Whether code in a definition moves something to a device that is not the CPU."""
        for call in self.facts.calls("cuda", "to"):
            if not within(call, definition):
                continue
            given = self.facts.names.arguments(call).positional
            if not given or (self.facts.devices.of(given[0]) or CPU) != CPU:
                return True
        for name in self.facts.identifiers("device"):
            parent = name.parent
            if not within(name, definition) or parent is None:
                continue
            if parent.type == "keyword_argument" and parent.children[0] == name:
                return self.facts.devices.of(parent.children[-1]) != CPU
        return False

    def _dataset_moves(self, node: Node, depth: int) -> bool:
        if depth > _DEPTH:
            return False
        if node.type == "identifier":
            values = [b.value for b in self.facts.flow.reaching(node) if b.value is not None]
            return any(self._dataset_moves(value, depth + 1) for value in values)
        if node.type in ("list", "tuple", "expression_list", "conditional_expression"):
            return any(self._dataset_moves(child, depth + 1) for child in node.named_children)
        if node.type != "call":
            return False
        return self._constructed_moves(node, depth)

    def _constructed_moves(self, node: Node, depth: int) -> bool:
        given = self.facts.names.arguments(node)
        nodes = [*given.positional, *given.keywords.values()]
        path = self.facts.names.callee(node) or self.facts.code(node.children[0])
        word = path.rpartition(".")[2]
        if word == "TensorDataset":
            return given.open or any(self._may_be_moved(n) for n in nodes)
        if word in _HOLDS_DATA:
            return any(self._dataset_moves(n, depth + 1) for n in given.positional)
        if "device" in given.keywords or any(self._names_device(n) for n in nodes):
            return True
        definition = self.facts.names.definition(node.children[0])
        return definition is not None and self._text_moves(definition)

    def _may_be_moved(self, node: Node) -> bool:
        """Whether a tensor of a dataset is on the GPU, or comes from a computation that may be."""
        value = self.facts.tensors.value(node)
        return value.device == CUDA or (value.kind == "tensor" and value.device != CPU)

    def _names_device(self, node: Node) -> bool:
        plain = node.type in ("identifier", "attribute")
        return plain and self.facts.code(node).rpartition(".")[2] == "device"


def _says_where(code: str) -> bool:
    """Whether code moves something, or names a device for it."""
    return ".cuda(" in code or ".to(" in code or _PLACES.search(code) is not None
