"""Step markers: what makes a loop run training, evaluation or decoding steps."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts.flow import FUNCTIONS, LOOPS, ancestors, within
from cudalint.facts.tensors.tables import words
from cudalint.hooks import is_part
from cudalint.lazy import Worded, lazy_compile
from cudalint.rare import Rare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

# In lower case.
_OPTIMIZER = lazy_compile(r"(?:^|[._\[])opt|solver|scaler|adam|sgd|(?:^|[._])engine$")
_NO_OPTIMIZER = Worded(
    ("sched", "lr_", "warmup", "env", "prof", "ema", "swa", "bar"),
    r"sched|lr_|warmup|(?:^|[._])envs?\b|prof|ema|swa|pbar|bar$",
)
_NO_CALL = words(
    "train eval to cuda cpu parameters named_parameters state_dict load_state_dict generate half "
    "float modules named_modules children zero_grad requires_grad_ apply save_pretrained compile "
    "get_num_params bfloat16 num_parameters buffers named_buffers items values keys"
)
_LOADER_WORD = Rare((b"oader", b"dl"), rb"oaders?\b|_dl\b|dls\b|\bdl\b|oader_\w+\b")
# What names code without gradients.
GRADLESS = ("no_grad", "inference_mode", "_no_grad", "set_grad_enabled")
# How a decoding loop chooses the token that it appends to its input.
_SAMPLED = lazy_compile(r"\b(?:argmax|multinomial|topk|sample)\(|\bmax\([^()]*(?:dim=|,)\s*-?\d")


class Steps:
    """The loops and functions of a file that hold steps of their own."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self._runners: dict[int, bool] = {}

    # -- training -----------------------------------------------------------------------------

    @cached_property
    def _training(self) -> tuple[frozenset[int], frozenset[int]]:
        return self._spread(self.training_markers())

    def trains(self, holder: Node) -> bool:
        """Whether a loop runs backward or an optimizer's step itself, not in a loop inside it.

        For a function: outside of its loops.
        """
        loops, functions = self._training
        return holder.id in loops or holder.id in functions

    def training_markers(self) -> Iterator[Node]:
        """The calls that make what holds them a training step."""
        for call in self.facts.calls("backward", "manual_backward", "optimizer_step"):
            if call.children[0].type == "attribute":
                yield call
        for call in self.facts.calls("step"):
            if self._is_optimizer_step(call):
                yield call
        for call in self.facts.calls("loss_scaler", "scaler"):
            given = call.child_by_field_name("arguments")
            if given is not None and "optim" in self.facts.code(given):
                yield call

    def _is_optimizer_step(self, call: Node) -> bool:
        function = call.children[0]
        if function.type != "attribute":
            return False
        owner = self.facts.code(function.children[0]).lower()
        if _NO_OPTIMIZER.search(owner):
            return False
        if "optim" in owner or _OPTIMIZER.search(owner):
            return True
        return self.facts.tensors.value(function.children[0]).kind == "optimizer"

    # -- evaluation and decoding --------------------------------------------------------------

    def evaluates(self, loop: Node) -> bool:
        """Whether a loop calls a model without gradients, or decodes, itself or by a function."""
        if not self._may_evaluate(loop):
            return False
        return loop.id in self._evaluating[0]

    def _may_evaluate(self, loop: Node) -> bool:
        """Whether the words say that it could, before any value is looked at."""
        if any(within(loop, region) or within(region, loop) for region in self.gradless_regions):
            return True
        text = self.facts.code(loop)
        if "cat(" in text and _SAMPLED.search(text):
            return True
        return any(f"{name}(" in text for name in self._gradless_functions)

    @cached_property
    def _gradless_functions(self) -> frozenset[str]:
        """The names of functions with a region without gradients, and of their callers."""
        found: set[str] = set()
        todo = list(self.gradless_regions)
        while todo:
            region = todo.pop()
            for holder in (region, *ancestors(region)):
                name = holder.child_by_field_name("name")
                if holder.type == "function_definition" and name is not None:
                    if self.facts.code(name) not in found:
                        found.add(self.facts.code(name))
                        todo += self.facts.tensors.sites(holder)
                    break
        return frozenset(found)

    @cached_property
    def _evaluating(self) -> tuple[frozenset[int], frozenset[int]]:
        return self._spread(self._evaluating_markers())

    def _evaluating_markers(self) -> Iterator[Node]:
        for region in self.gradless_regions:
            yield from self._gradless_markers(region)
        for loop in self._decoding_loops:
            yield from self._model_calls(loop)

    def _gradless_markers(self, region: Node) -> Iterator[Node]:
        """Model calls, and calls of functions that make one; beside a loop of steps only there."""
        found = [
            (call, any(a.type in LOOPS and within(a, region) for a in ancestors(call)))
            for call in self._model_calls(region, through=True)
        ]
        loops = any(in_loop for _, in_loop in found)
        for call, in_loop in found:
            if in_loop or not loops or self.is_model_call(call):
                yield call

    @cached_property
    def _decoding_loops(self) -> list[Node]:
        """The loops that append to a tensor what they choose by argmax or chance."""
        found = []
        for call in self.facts.calls("cat", "concat", "hstack"):
            loop = next((a for a in ancestors(call) if a.type in LOOPS), None)
            if loop is not None and _SAMPLED.search(self.facts.code(loop)):
                found.append(loop)
        return found

    @cached_property
    def gradless_regions(self) -> list[Node]:
        """The blocks under `no_grad`/`inference_mode`, and the bodies of functions so decorated."""
        found = []
        for node in self.facts.identifiers(*GRADLESS):
            if self.facts.code(node) == "set_grad_enabled":
                found += self._from_here(node)
                continue
            for holder in ancestors(node):
                if holder.type == "with_clause" and holder.parent is not None:
                    body = holder.parent.child_by_field_name("body")
                elif holder.type == "decorator" and holder.parent is not None:
                    body = holder.parent.child_by_field_name("definition")
                elif holder.type in ("block", "module"):
                    break
                else:
                    continue
                if body is not None:
                    found.append(body)
                break
        return found

    def _from_here(self, node: Node) -> list[Node]:
        """What runs under `set_grad_enabled(False)`: its block, or all of its function or file."""
        mode = r"set_grad_enabled\((?:mode=)?(\w+)"
        if {match[1] for match in re.finditer(mode, self.facts.code(self.facts.root))} != {"False"}:
            return []
        for holder in ancestors(node):
            if holder.type == "with_clause" or holder.type in FUNCTIONS:
                at = holder.parent if holder.type == "with_clause" else holder
                body = at.child_by_field_name("body") if at is not None else None
                return [body] if body is not None else []
            if holder.type == "decorator":
                return []
        return [self.facts.root]

    def _model_calls(self, region: Node, through: bool = False) -> Iterator[Node]:
        """The model calls of a region; `through`: and the calls of functions that make one."""
        stack = [region]
        while stack:
            node = stack.pop()
            if node.type == "call" and (
                self.is_model_call(node) or (through and self._runs_model(node))
            ):
                yield node
            elif node.type not in ("string", "comment"):
                stack.extend(node.named_children)

    def _runs_model(self, call: Node) -> bool:
        """Whether a call is of a function of the file that calls a model outside of its loops."""
        function = self._function(call.children[0])
        if function is None:
            return False
        if self._is_whole_run(function):
            return False
        if (known := self._runners.get(function.id)) is None:
            self._runners[function.id] = False  # a cycle adds nothing
            known = self._runners[function.id] = self._has_model_call(function)
        return known

    def _function(self, called: Node) -> Node | None:
        """The function of the file that is called, or the lambda that a name stands for."""
        found = self.facts.names.definition(called)
        if found is None and called.type == "identifier":
            known = self.facts.names.lookup(called)
            found = known[1][0].value if known is not None and len(known[1]) == 1 else None
        return found if found is not None and found.type in FUNCTIONS else None

    def _is_whole_run(self, function: Node) -> bool:
        """Whether a function is called `generate`, which is many steps."""
        name = function.child_by_field_name("name")
        return name is not None and self.facts.code(name) == "generate"

    def _has_model_call(self, function: Node) -> bool:
        stack = list(function.named_children)
        while stack:
            node = stack.pop()
            if node.type == "call" and (self.is_model_call(node) or self._runs_model(node)):
                return True
            if node.type not in (*LOOPS, *FUNCTIONS, "string", "comment"):
                stack.extend(node.named_children)
        return False

    @cached_property
    def names_loader(self) -> bool:
        """Whether any name of the file is a loader's, `DataLoader` included."""
        for match in _LOADER_WORD.finditer(self.facts.text):
            node = self.facts.at(match.start(), match.end())
            if node is not None and node.type == "identifier":
                return True
        return False

    def is_model_call(self, call: Node) -> bool:
        """`model(x)`, `model.forward(x)`, `vae.decode(z)`; not `generate`, which is many steps."""
        function = call.child_by_field_name("function")
        tensors = self.facts.tensors
        if function is None or function.type not in ("identifier", "attribute", "subscript"):
            return False
        if self.facts.names.qualified(function) is not None:
            return False
        if function.type == "attribute":
            owner, name = function.children[0], self.facts.code(function.children[-1])
            if name in _NO_CALL:
                return False
            if self.facts.code(owner) in ("self", "super()"):
                value = tensors.value(function)
                return value.kind == "module" or tensors.evidence.is_module(function)
            given = call.child_by_field_name("arguments")
            if given is None or not given.named_children:
                return False
            if tensors.value(owner).kind == "module" or tensors.evidence.is_module(owner):
                return True
        return tensors.value(function).kind == "module" or tensors.evidence.is_module(function)

    # -- spreading ----------------------------------------------------------------------------

    def _spread(self, markers: Iterator[Node]) -> tuple[frozenset[int], frozenset[int]]:
        """The loops that hold markers, and the functions that hold them outside of loops.

        A call of such a function is a marker where it stands.
        """
        loops: set[int] = set()
        functions: set[int] = set()
        todo = list(markers)
        seen = {node.id for node in todo}
        while todo:
            holder = self._holder(todo.pop(), loops)
            if holder is None or holder.id in functions or self._is_whole_run(holder):
                continue
            functions.add(holder.id)
            for site in self.facts.tensors.sites(holder):
                if site.id not in seen:
                    seen.add(site.id)
                    todo.append(site)
        return frozenset(loops), frozenset(functions)

    def _holder(self, marker: Node, loops: set[int]) -> Node | None:
        """Record the loop around a marker; the function where there is no loop around it."""
        for holder in ancestors(marker):
            if holder.type in FUNCTIONS and holder.type != "lambda":
                return holder
            if holder.type in LOOPS:
                iterable = holder.child_by_field_name("right")
                if iterable is not None and within(marker, iterable):
                    continue
                loops.add(holder.id)
                if not self._goes_through_parts(holder):
                    return None
        return None

    def _goes_through_parts(self, loop: Node) -> bool:
        """`for optimizer in optimizers:` is a part of a step, not a loop of steps."""
        left = loop.child_by_field_name("left")
        right = loop.child_by_field_name("right")
        if left is None or right is None:
            return False
        if right.type in ("list", "tuple"):
            return True
        names = [node for node in (left, *left.named_children) if node.type == "identifier"]
        return any(is_part(self.facts.code(name)) for name in names)
