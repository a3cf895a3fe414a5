"""The first step of a program: the model call, and what follows it up to the optimizer's step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts.flow import LOOPS, ancestors, walk, within
from cudalint.facts.tensors.definitions import is_module_class
from cudalint.lazy import lazy_compile
from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_BACKWARDS = ("backward", "manual_backward")
_OPTIMIZER = lazy_compile(r"opt|scaler|solver|engine|adam|sgd", re.I)
_OPTIMIZES = lazy_compile(rb"\b\w*[oO]ptim\w*")
# What makes a model, and is not one that is called.
_MAKES = lazy_compile(r"^_*(?:load|build|define|create|make|get|init|setup|prepare|wrap|from)_")
_CRITERION = lazy_compile(r"crit|loss|mse|bce|(?<![a-z])ce(?![a-z])|(?<![a-z])l1|kl", re.I)
# Methods of a model that compute its output; `train`, `reset_cache`, `make_noise` and the like do not.
_INFERS = lazy_compile(
    r"^(?:__call__|act|denoise|render\w*|forward\w*|generate\w*|infer\w*|predict\w*|sample\w*"
    r"|(?:en|de)code\w*|embed\w*|extract\w*|transcribe\w*|p_sample\w*|log_prob|reconstruct\w*"
    r"|get_(?:intermediate|last|action|value|image|text|feature)\w*)$"
)
# Functions of other files that run a model which they are given.
_RUNS_MODEL = lazy_compile(
    r"infer|loss|predict|sample|forward|generate|step|evaluat|render|decode", re.I
)
_SLICE = 200


class Step(NamedTuple):
    """The first step that a program runs: from the statement of its model call to the last one.

    `kind` is "training" or "inference"; `first` and `last` are statements (`last` the optimizer's
    step, or where there is none the backward pass); `call` is the model call, None where it is
    hidden in another file's function.
    """

    kind: str
    first: Node
    last: Node
    backward: Node | None
    call: Node | None


class Steps:
    """Finds the first step among the code that `runs` says is run."""

    def __init__(self, facts: PythonFacts, runs: Callable[[Node], bool]) -> None:
        self.facts = facts
        self.runs = runs

    def first(self) -> Step | None:
        """The first training step, else the first model call for inference."""
        return self._training() or self._inference()

    # -- training -----------------------------------------------------------------------------

    def _training(self) -> Step | None:
        for backward in self.facts.calls(*_BACKWARDS) if self._updates else ():
            if backward.children[0].type == "attribute" and self._is_run(backward):
                return self._step_of(backward)
        for hook in self._hooks():
            call = self._best(self._calls(hook))
            if call is not None:
                first = self.facts.names.statement(call)
                return Step("training", first, first, None, call)
        return None

    @cached_property
    def _updates(self) -> bool:
        """Whether anything is optimized: a backward pass alone is a test or an explanation."""
        for match in _OPTIMIZES.finditer(self.facts.text):
            node = self.facts.at(match.start(), match.end())
            if node is not None and node.type == "identifier":
                return True
        return any(
            _OPTIMIZER.search(self.facts.code(call.children[0]))
            for call in self.facts.calls("step")
        )

    def _is_run(self, node: Node) -> bool:
        function = next((a for a in ancestors(node) if a.type == "function_definition"), None)
        if function is not None:
            name = function.child_by_field_name("name")
            if name is not None and re.match(r"test_|backward$", self.facts.code(name)):
                return False
        return self.runs(node)

    def _hooks(self) -> Iterator[Node]:
        """The `training_step` of a Lightning module that a Trainer of the file runs."""
        if not any(True for _ in self.facts.calls("Trainer")):
            return
        for name in self.facts.identifiers("training_step"):
            function = name.parent
            if function is not None and function.type == "function_definition":
                yield function

    def _step_of(self, backward: Node) -> Step:
        """From the model call that a backward pass goes back to, to the optimizer's step."""
        holders = []
        for holder in ancestors(backward):
            if holder.type in LOOPS:
                holders.append(holder)
            elif holder.type in ("function_definition", "module"):
                holders.append(holder)
                break
        inner = self.facts.names.statement(backward)
        first, call = self._beginning(backward, holders)
        if first is None or within(backward, first) or first.start_byte > inner.start_byte:
            first = inner
        return Step("training", first, self._last(inner, holders[0]), backward, call)

    def _beginning(self, backward: Node, regions: list[Node]) -> tuple[Node | None, Node | None]:
        """The first statement of the step and its model call, in the innermost region with one."""
        slices = self._slice(backward, regions[-1])
        for region in regions:
            made = self._in_nodes([node for node in slices if within(node, region)])
            found = self._best(made) or self._best(self._before(region, backward))
            if found is not None:
                return self.facts.names.statement(found), found
            for call in made:
                if self._is_of_file(call):
                    return self.facts.names.statement(call), None
        return self._loss(backward), None

    def _in_nodes(self, nodes: list[Node]) -> list[Node]:
        return [call for node in nodes for call in self._calls(node)]

    def _before(self, region: Node, backward: Node) -> list[Node]:
        """The calls of a region before the backward pass, nested functions and rare code left out."""
        return [
            call
            for call in self._calls(region)
            if call.start_byte < backward.start_byte and not self._is_aside(call, region)
        ]

    def _best(self, calls: list[Node]) -> Node | None:
        """The first model call with gradients, else one hidden in a function, else any."""
        models = [call for call in calls if self._is_model_call(call)]
        graded = [call for call in models if not self.facts.loops.without_grad(call)]
        if graded:
            return graded[0]
        hidden = [call for call in calls if self._calls_model(call) or self._is_given_model(call)]
        return next(iter(hidden or models), None)

    def _calls(self, node: Node) -> list[Node]:
        return [at for at in walk(node) if at.type == "call"]

    def _is_aside(self, node: Node, region: Node) -> bool:
        """Whether a node stands in a function inside a region, or where only some steps pass."""
        for holder in ancestors(node):
            if holder == region:
                return False
            if holder.type == "function_definition":
                return True
            if holder.type == "if_statement" and self.facts.loops.throttled(node):
                return True
        return False

    def _slice(self, backward: Node, region: Node) -> list[Node]:
        """The expressions that the loss is made of, in source order, followed through names."""
        seen: set[int] = set()
        found: dict[int, Node] = {}
        stack = [backward]
        while stack and len(seen) < _SLICE:
            node = stack.pop()
            if node.id in seen:
                continue
            seen.add(node.id)
            for at in walk(node):
                if at.type != "identifier":
                    continue
                for binding in self.facts.flow.reaching(at):
                    value = binding.value
                    assigns = binding.kind in ("assign", "unpack", "augment", "walrus")
                    if assigns and value is not None and within(value, region):
                        found[value.id] = value
                        stack.append(value)
        return sorted([*found.values(), backward], key=lambda node: node.start_byte)

    def _loss(self, backward: Node) -> Node | None:
        """The statement that makes the loss, where nothing else is in sight."""
        function = backward.children[0]
        given = self.facts.names.arguments(backward).positional
        named = given[0] if given else function.children[0]
        for binding in self.facts.flow.reaching(named) if named.type == "identifier" else ():
            if binding.kind in ("assign", "unpack"):
                return self.facts.names.statement(binding.node)
        return None

    def _last(self, inner: Node, region: Node) -> Node:
        """The optimizer's step after a backward pass in its region, else the pass itself."""
        for call in self.facts.calls("step"):
            later = call.start_byte > inner.end_byte and within(call, region)
            if later and _OPTIMIZER.search(self.facts.code(call.children[0])):
                return self.facts.names.statement(call)
        return inner

    # -- model calls --------------------------------------------------------------------------

    def _is_model_call(self, call: Node) -> bool:
        function = call.child_by_field_name("function")
        if function is None or not self.facts.loops.steps.is_model_call(call):
            return False
        name = self.facts.code(function).rpartition(".")[2]
        if _CRITERION.search(name) or self._makes_model(call, name):
            return False
        owner = function.children[0] if function.type == "attribute" else None
        if owner is None or self.facts.code(owner) in ("self", "super()"):
            return True
        return bool(_INFERS.match(name)) or self.facts.tensors.value(function).kind == "module"

    def _is_given_model(self, call: Node) -> bool:
        """`sliding_window_inference(images, size, model)`: another file's function runs it."""
        function = call.child_by_field_name("function")
        if function is None or self._function_of(call) is not None:
            return False
        name = self.facts.code(function).rpartition(".")[2]
        if not _RUNS_MODEL.search(name) or (self.facts.names.callee(call) or "").startswith(
            "torch."
        ):
            return False
        evidence = self.facts.tensors.evidence
        given = self.facts.names.arguments(call)
        nodes = [*given.positional, *given.keywords.values()]
        return any(n.type in ("identifier", "attribute") and evidence.is_module(n) for n in nodes)

    def _makes_model(self, call: Node, name: str) -> bool:
        """Whether a call's result is a model: `model = backbone(width=2)`, `load_model()`."""
        parent = call.parent
        if _MAKES.match(name) and not _INFERS.match(name):
            return True
        if parent is None or parent.type != "assignment":
            return False
        left = parent.child_by_field_name("left")
        return left is not None and self.facts.tensors.evidence.is_module(left)

    def _calls_model(self, call: Node) -> bool:
        """Whether a function of the file that is called runs a model with gradients."""
        made = self._function_of(call)
        name = made.child_by_field_name("name") if made is not None else None
        if made is None or name is None or _MAKES.match(self.facts.code(name)):
            return False
        for node in self._calls(made):
            if self._is_model_call(node):
                return not self.facts.loops.without_grad(node)
        return False

    def _is_of_file(self, call: Node) -> bool:
        made = self._function_of(call)
        name = made.child_by_field_name("name") if made is not None else None
        spelled = self.facts.code(name) if name is not None else "load_"
        return not re.search(r"batch|load|data|loss", spelled) and not _MAKES.match(spelled)

    def _function_of(self, call: Node) -> Node | None:
        function = call.child_by_field_name("function")
        made = self.facts.names.definition(function) if function is not None else None
        return made if made is not None and made.type == "function_definition" else None

    # -- inference ----------------------------------------------------------------------------

    def _inference(self) -> Step | None:
        """A model call under `no_grad` (or in a program that calls `eval()`), in what is run."""
        for call in self._inference_calls():
            if self._is_run(call) and not self._is_in_module(call):
                statement = self.facts.names.statement(call)
                return Step("inference", statement, statement, None, call)
        return None

    def _inference_calls(self) -> list[Node]:
        regions = self.facts.loops.steps.gradless_regions
        regions = [one for one in regions if one != self.facts.root and self._is_run(one)]
        calls = [call for region in regions for call in self._calls(region)]
        found = [call for call in calls if self._infers(call)]
        found = found or [call for call in calls if self._is_given_model(call)]
        if not found and any(self._is_run(call) for call in self.facts.calls("eval")):
            calls = [call for call in self._calls(self.facts.root) if self._is_run(call)]
            found = [call for call in calls if self._infers(call)]
        return sorted(found, key=lambda call: call.start_byte)

    def _infers(self, call: Node) -> bool:
        return self._is_model_call(call) or self._generates(call)

    def _is_in_module(self, call: Node) -> bool:
        """Whether a call is a model's own: its caller is the program's step."""
        holder = self.facts.names.enclosing(call, "class_definition")
        return holder is not None and is_module_class(self.facts, holder)

    def _generates(self, call: Node) -> bool:
        """`model.generate(…)`."""
        function = call.child_by_field_name("function")
        if function is None or function.type != "attribute":
            return False
        owner = function.children[0]
        tensors = self.facts.tensors
        is_module = tensors.value(owner).kind == "module" or tensors.evidence.is_module(owner)
        return is_module and self.facts.code(function.children[-1]) == "generate"
