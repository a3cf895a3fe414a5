"""Loaders: torch's `DataLoader`s of a file, what they were given, and how they are passed on."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts.devices import CPU, CUDA, UNKNOWN
from cudalint.facts.loaders.batches import Batches, Collated
from cudalint.facts.loaders.options import Options, Pin
from cudalint.facts.loaders.spelling import Spelling
from cudalint.facts.tensors.tables import LOADER, words
from cudalint.facts.tensors.values import Value, output, sequence
from cudalint.lazy import Worded
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.arguments import Arguments
    from cudalint.facts.python import PythonFacts


_ALIAS = Rare(
    (b"DataLoader",),
    rb"\bDataLoader[ \t]+as[ \t]+(\w+)|\b(\w+)[ \t]*=[ \t]*[\w.]*\bDataLoader[ \t]*$",
)
_NAME = Worded(
    ("loader", "dl"),
    r"(?:^|_)(?:data_?)?loader(?:_?\w{0,6})$|dataloader|(?:^|_)dl$|trainloader|testloader",
)
_PLURAL = Worded(("loaders", "dls"), r"(?:data_?)?loaders$|(?:^|_)dls$")
_PASSES = words("tqdm track log_every islice cycle progress_bar alive_it trange_it auto")
_ITERATES = words("enumerate zip iter list reversed batched")
_PREPARES = words("prepare prepare_data_loader setup_dataloaders setup")
_WRAPPERS = ("loader", "Loader", "prefetch", "Prefetch")
_MOVERS = Rare(
    (b"accelerator.", b"fabric.", b"refetch", b"dali", b"deepspeed"),
    rb"accelerator\.|fabric\.|[pP]refetch|\bdali\b|deepspeed",
)
_DEPTH = 6


class Loaders:
    """The loaders of one file."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self._options = Options(facts)
        self._batches = Batches(facts)
        self._spelling = Spelling(facts)

    @cached_property
    def constructions(self) -> list[Node]:
        """Every call of torch's own `DataLoader`, in source order."""
        names = {"DataLoader"}
        for match in _ALIAS.finditer(self.facts.text):
            names.add((match[1] or match[2]).decode())
        calls = (call for name in names for call in self.facts.calls(name))
        own = [call for call in calls if self.facts.names.callee(call) == LOADER]
        return sorted(own, key=lambda call: call.start_byte)

    def arguments(self, call: Node) -> Arguments:
        """The arguments of a construction, those of visible `**kwargs` included."""
        return self._options.arguments(call)

    def argument(self, call: Node, name: str) -> Node | None:
        """One argument of a construction, by keyword or position."""
        return self._options.argument(call, name)

    def pin(self, call: Node) -> Pin:
        """Whether a construction pins its batches, as far as the file says."""
        return self._options.pin(call)

    def feeds_cuda(self, call: Node) -> bool:
        """Whether a construction's batches may reach the GPU, from pageable memory."""
        return self._batches.feeds_cuda(call)

    def yields_cuda(self, call: Node) -> bool:
        """Whether the batches of a construction may be on the GPU already: pinning would raise."""
        return self._batches.yields_cuda(call)

    def collated(self, batch: Value) -> Collated:
        """Who makes the batch that a value is part of: see `Batches.collated`."""
        return self._batches.collated(batch)

    # -- values -------------------------------------------------------------------------------

    def value(self, call: Node) -> Value:
        """A construction as a value: its batches are on the CPU, pinned or not."""
        pinned = self.pin(call) == "pinned"  # what is on the GPU cannot be: pinning it raises
        moved = not pinned and (self.yields_cuda(call) or self.facts.devices.sets_default)
        return Value("loader", device=CUDA if moved else CPU, pinned=pinned, node=call)

    def of_subclass(self, call: Node) -> Value:
        """A loader of a class that derives from torch's, which takes the same keywords."""
        return Value("loader", device=CPU, pinned=self.pin(call) == "pinned")

    def by_name(self, name: str) -> Value | None:
        """What a name alone says: a parameter called `train_loader` is a loader, of some kind."""
        loader = Value("loader", device=self._usual_device, sure=False)
        if _PLURAL.search(name):
            return Value("mapping", item=loader)
        return loader if _NAME.search(name) else None

    @cached_property
    def _usual_device(self) -> str:
        """Where batches of a loader from elsewhere are: on the CPU, unless a library moves them."""
        moved = self.facts.devices.moves_by_itself or _MOVERS.search(self.facts.text)
        return UNKNOWN if moved else CPU

    def passed_on(self, call: Node) -> Value | None:
        """The loader (or what stands for it) that a call returns, None where it returns none."""
        function = call.child_by_field_name("function")
        if function is None:
            return None
        word = self.facts.code(function).rpartition(".")[2]
        if word in _PASSES:
            given = self.facts.names.arguments(call)
            first = given.get("iterable", 0)
            value = self.facts.tensors.value(first) if first is not None else None
            return value if value is not None and value.kind in ("loader", "sequence") else None
        if word in _PREPARES:
            return self._prepared(call)
        return None

    def named_so(self, call: Node) -> Value | None:
        """A class or function of another file that is named as loaders are: some loader."""
        word = self.facts.code(call.children[0]).rpartition(".")[2]
        if not any(wrapper in word for wrapper in _WRAPPERS):
            return None
        return self.by_name(word) or Value("loader", sure=False)

    def _prepared(self, call: Node) -> Value | None:
        """`accelerator.prepare(…)`: loaders then yield batches on the device."""
        given = self.facts.names.arguments(call).positional
        values = [self.facts.tensors.value(node) for node in given]
        moved = tuple(_on_device(value) for value in values)
        if not moved or any(node.type == "list_splat" for node in given):
            return None
        return moved[0] if len(moved) == 1 else sequence(items=moved)

    def source(self, node: Node, depth: int = 0) -> Value | None:
        """The loader that an iterable draws from, through enumerate, tqdm, zip, iter and names."""
        if depth > _DEPTH or not self._spelling.allows(node):
            return None
        value = self.facts.tensors.value(node)
        if value.kind == "loader":
            return value
        if node.type == "call" and value.kind in ("sequence", "unknown"):
            given = self.facts.names.arguments(node)
            word = self.facts.code(node.children[0]).rpartition(".")[2]
            if word in _PASSES or word in _ITERATES:
                return self._first_source([*given.positional, *given.keywords.values()], depth)
        if node.type == "identifier" and value.kind in ("sequence", "unknown"):
            kinds = ("assign", "with", "walrus")
            found = self.facts.flow.reaching(node)
            values = [b.value for b in found if b.kind in kinds and b.value is not None]
            return self._first_source(values, depth)
        return None

    def _first_source(self, nodes: list[Node], depth: int) -> Value | None:
        for node in nodes:
            if (value := self.source(node, depth + 1)) is not None:
                return value
        return None


def _on_device(value: Value) -> Value:
    if value.kind == "loader":
        batch = output(CUDA, sure=value.sure)
        return value.but(device=CUDA, pinned=False, item=batch)
    if value.kind in ("module", "tensor", "output"):
        return value.but(device=CUDA)
    return value if value.device == UNKNOWN else value.but(device=UNKNOWN)
