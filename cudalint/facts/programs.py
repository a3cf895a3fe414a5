"""Programs: whether a file is an entry point, which step it runs, and what it says of precision."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts.flow import ancestors
from cudalint.facts.precision import Precision
from cudalint.facts.program_steps import Step, Steps
from cudalint.lazy import Worded, lazy_compile
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_DEFINITIONS = ("function_definition", "class_definition")
_TEST_NAME = Worded(("test",), r"(?:^|/)(?:test_[^/]*|[^/]*_test|conftest)\.py$|(?:^|/)tests?/")
_TESTS = Rare(
    (b"test.main(", b"run_tests("), rb"\b(?:unittest\.main|pytest\.main|absltest\.main|run_tests)\("
)
# A loop, a block or a bare call at the left margin.
_RUNS = lazy_compile(rb"^(?:for|while|with|if)\b|^[A-Za-z_][\w.]*\(", re.MULTILINE)
_COMMAND = lazy_compile(rb"command|\bmain\b|\bapp\b|entrypoint|\bcli\b")
# Methods that run without being named by whoever uses the class.
_IMPLICIT = {"__init__", "__call__", "__enter__", "forward", "training_step", "__iter__"}
IMPORTS = ("import_statement", "import_from_statement", "future_import_statement")
_MAY_BE_CUDA = ("cuda", "unknown")
_CHOOSER = lazy_compile(r"self|arg|opt|cfg|conf|param|accel|fabric|trainer|flags", re.I)
# They choose a precision by their own configuration.
_FRAMEWORKS = (
    "deepspeed",
    "megatron",
    "colossalai",
    "nemo",
    "modelopt",
    "mmcv",
    "mmengine",
    "mmdet",
)


class Programs:
    """What one file runs when it is started."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts

    # -- entry points -------------------------------------------------------------------------

    @cached_property
    def guard(self) -> Node | None:
        """The `if __name__ == "__main__"` of the file."""
        for node in self.facts.root.named_children:
            if node.type == "if_statement":
                test = node.child_by_field_name("condition")
                if test is not None and self._is_main_test(test):
                    return node
        return None

    def _is_main_test(self, test: Node) -> bool:
        code = self.facts.code(test)
        return "__name__" in code and "__main__" in code and "!=" not in code

    @cached_property
    def is_test(self) -> bool:
        """Whether the file is a test, by its name or by what it runs."""
        return bool(_TEST_NAME.search(self.facts.source.path) or _TESTS.search(self.facts.text))

    @cached_property
    def may_run(self) -> bool:
        """Whether the bytes show anything that runs when the file is started (no parse needed)."""
        return b"__main__" in self.facts.text or _RUNS.search(self.facts.text) is not None

    @cached_property
    def is_entry_point(self) -> bool:
        """Whether starting this file runs a step that is in sight."""
        return self.step is not None

    def runs(self, node: Node) -> bool:
        """Whether starting the file reaches the code of a node, as far as names tell."""
        function = self._function(node)
        return function is None or function.id in self._reached

    def _function(self, node: Node) -> Node | None:
        """The innermost function around a node whose definition makes it run or not."""
        return next((a for a in ancestors(node) if a.type == "function_definition"), None)

    @cached_property
    def _reached(self) -> frozenset[int]:
        """The functions that the module's own code calls, through functions of the file.

        By name alone: `trainer.fit()` reaches every `fit` of the file, a class its implicit methods.
        """
        found: set[int] = set()
        names: set[str] = set()
        todo = [self._names_in(self.facts.root) | self._exposed()]
        while todo:
            new = todo.pop() - names
            names |= new
            for name in new:
                for definition in self._definitions.get(name, ()):
                    if definition.id not in found:
                        found.add(definition.id)
                        todo.append(self._names_in(definition))
        return frozenset(found)

    @cached_property
    def _definitions(self) -> dict[str, list[Node]]:
        """Functions by what starts them: their name, `.name` of a method, or their class's name."""
        made: dict[str, list[Node]] = {}
        for function in self._functions():
            node = function.child_by_field_name("name")
            name = self.facts.code(node) if node is not None else ""
            holder = self.facts.names.enclosing(function, *_DEFINITIONS)
            is_method = holder is not None and holder.type == "class_definition"
            made.setdefault(f".{name}" if is_method else name, []).append(function)
            title = holder.child_by_field_name("name") if holder is not None else None
            if is_method and title is not None and name in _IMPLICIT:
                made.setdefault(self.facts.code(title), []).append(function)
        return made

    def _functions(self) -> Iterator[Node]:
        for match in re.finditer(rb"\bdef\s+(\w+)", self.facts.text):
            name = self.facts.at(*match.span(1))
            function = name.parent if name is not None else None
            if function is not None and function.type == "function_definition":
                yield function

    def _names_in(self, holder: Node) -> set[str]:
        """The names in a holder's own code, attributes as `.name`; what it defines runs when named."""
        found: set[str] = set()
        body = holder.child_by_field_name("body") if holder.type in _DEFINITIONS else holder
        stack = list(body.named_children) if body is not None else []
        while stack:
            node = stack.pop()
            if node.type in IMPORTS:
                continue
            if node.type == "identifier":
                found.add(self.facts.code(node))
            elif node.type == "attribute":
                found.add(f".{self.facts.code(node.children[-1])}")
                stack.append(node.children[0])
                continue
            if node.type == "decorated_definition":
                found |= self._commands(node)
            if node.type not in _DEFINITIONS:
                stack.extend(node.named_children)
        return found

    def _exposed(self) -> set[str]:
        """`fire.Fire()` makes every name of the module a command."""
        for call in self.facts.calls("Fire"):
            if not self.facts.names.arguments(call).positional:
                return set(self.facts.names.module.bindings)
        return set()

    def _commands(self, definition: Node) -> set[str]:
        """The name of a function that a decorator makes a command of the program."""
        marks = [child for child in definition.children if child.type == "decorator"]
        inner = definition.child_by_field_name("definition")
        name = inner.child_by_field_name("name") if inner is not None else None
        if name is None or not any(_COMMAND.search(mark.text or b"") for mark in marks):
            return set()
        return {self.facts.code(name)}

    # -- the step -----------------------------------------------------------------------------

    @cached_property
    def step(self) -> Step | None:
        """The first training step that the program runs, else its first model call for inference."""
        return Steps(self.facts, self.runs).first()

    @cached_property
    def has_framework(self) -> bool:
        """Whether the program runs in a framework that chooses precision by its configuration."""
        imports = rb"^\s*(?:import|from)\s+(?:" + "|".join(_FRAMEWORKS).encode() + rb")\b"
        used = rb"\bdeepspeed_|DeepSpeed|MegatronLM|" + imports
        return re.search(used, self.facts.text, re.MULTILINE) is not None

    # -- precision ----------------------------------------------------------------------------

    @cached_property
    def precision(self) -> Precision:
        """What the file says of precision."""
        return Precision(self.facts)

    @cached_property
    def uses_cuda(self) -> bool:
        """Whether the file moves a model or data to a device that may be CUDA."""
        devices = self.facts.devices
        if not devices.evidence:
            return False
        if devices.moves_by_itself or devices.sets_default:
            return True
        if any(call.children[0].type == "attribute" for call in self.facts.calls("cuda")):
            return True
        for call in self.facts.calls("to"):
            given = self.facts.names.arguments(call)
            named = given.get("device", 0)
            if named is not None and not self._follows(named) and devices.of(named) in _MAY_BE_CUDA:
                return True
        keyword = rb"\bdevice(?:_map)?\s*=|DataParallel|init_process_group"
        return re.search(keyword, self.facts.text) is not None and devices.named

    def _follows(self, device: Node) -> bool:
        """`x.to(y.device)` goes where another tensor is; `args.device` and `self.device` choose."""
        if device.type != "attribute" or self.facts.code(device.children[-1]) != "device":
            return False
        return _CHOOSER.search(self.facts.code(device.children[0])) is None
