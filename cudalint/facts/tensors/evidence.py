"""What a name's uses say of it: only modules have parameters, only scalar losses run backward."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.lazy import Worded, lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

# What only modules have; searched for by the dot, which is quick, and read backwards from there.
_MODULE = lazy_compile(
    rb"\.(?:train|eval|parameters|named_parameters|modules|named_modules|load_state_dict"
    rb"|requires_grad_)\("
)
_OWNER = lazy_compile(rb"[A-Za-z_][\w.]*$")
_REACH = 80
# `x.to(device)` as a statement: tensors are not moved in place, modules are.
_MOVED = lazy_compile(rb"\.(?:to|cuda|half|bfloat16)\([^()\n]*\)[ \t]*$", re.M)
_NO_MODULE = Worded(
    ("opt", "scaler", "sched", "ema", "trainer"),
    r"(?:^|[._])(?:opt\w*|optim\w*|scaler|sched\w*|\w*scheduler|ema|trainer)$",
)
# loss.backward(), accelerator.backward(loss), scaler.scale(loss).backward()
_BACKWARD = lazy_compile(rb"\.(?:backward|manual_backward|scale)\(\s*([A-Za-z_][\w.]*)?")
# Names that only modules of torch have in files that import it.
_USUAL = lazy_compile(
    r"^(?:self\.)?(?!(?:make|get|create|build|load|init|setup|prepare|new|save|wrap|define|construct"
    r"|compile|freeze|download|eval|evaluate|test|train|fit|run|update|print|export|parse)_)"
    r"(?:\w+_)?(?:model|net|network|unet|vae|backbone|discriminator|transformer|text_encoder"
    r"|image_encoder|critic|actor|net[GD]|student|teacher|denoiser)$"
)
_CRITERION = lazy_compile(r"(?:^|[._])(?:criterion|criteria|loss_fn|loss_func|loss_function)\w*$")


class Evidence:
    """Modules and losses by the way the file uses them."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts

    @cached_property
    def _modules(self) -> frozenset[str]:
        found = set()
        for match in _MODULE.finditer(self.facts.text):
            found.add(self._owner(match.start())[1])
        for match in _MOVED.finditer(self.facts.text):
            start, name = self._owner(match.start())
            row = self.facts.text.rfind(b"\n", 0, start) + 1
            if not self.facts.text[row:start].strip():
                found.add(name)
        return frozenset(name for name in found if name and not _NO_MODULE.search(name))

    def _owner(self, end: int) -> tuple[int, str]:
        """The dotted name that ends at an offset, and where it starts."""
        start = max(0, end - _REACH)
        match = _OWNER.search(self.facts.text[start:end])
        return (end, "") if match is None else (start + match.start(), match[0].decode())

    @cached_property
    def _losses(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for match in _BACKWARD.finditer(self.facts.text):
            start, name = self._owner(match.start())
            given = match[1]
            if given is not None:
                start, name = match.start(1), given.decode()
            elif not self.facts.text.startswith(b".backward", match.start()):
                continue
            node = self.facts.at(start, start + len(name.encode()))
            if name and node is not None and node.type in ("identifier", "attribute"):
                found.setdefault(name, []).append(node)
        return found

    def is_module(self, node: Node) -> bool:
        """Whether the file treats the object of a name as a module of torch."""
        text = self.facts.code(node)
        return text in self._modules or bool(_USUAL.search(text))

    def is_criterion(self, node: Node) -> bool:
        """Whether a callee is named as losses are."""
        return bool(_CRITERION.search(self.facts.code(node)))

    def is_loss(self, node: Node) -> bool:
        """Whether `.backward()` is called on what a name holds where it is read."""
        places = self._losses.get(self.facts.code(node))
        if not places or node.type != "identifier":
            return bool(places)
        reached = {binding.node.id for binding in self.facts.flow.reaching(node)}
        return any(
            binding.node.id in reached
            for place in places
            if place.type == "identifier"
            for binding in self.facts.flow.reaching(place)
        )
