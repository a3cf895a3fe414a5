"""Devices: whether a program uses CUDA, whether it could run without, and what expressions name.

CUDA evidence is read from code alone: identifiers, device strings and imports; prose in comments
and docstrings names nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts.flow import ancestors, leaves, within
from cudalint.lazy import lazy_compile
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

CUDA, CPU, UNKNOWN = "cuda", "cpu", "unknown"
# Libraries that move models and batches to the GPU by themselves where there is one.
ACCELERATORS = ("accelerate", "lightning", "pytorch_lightning", "lightning_fabric")
_GPU_LIBRARIES = (
    *ACCELERATORS,
    *("deepspeed", "colossalai", "composer", "apex", "flash_attn", "bitsandbytes"),
)
# What a file imports that works on tensors of torch.
_TORCH = lazy_compile(
    rb"^[ \t]*(?:import|from)[ \t]+(?:torch\w*|accelerate|lightning|pytorch_lightning|transformers"
    rb"|timm|diffusers|deepspeed|monai|fastai|kornia|trl|peft|fairseq|detectron2|mmcv|mmdet)\b",
    re.M,
)
_TRAINERS = lazy_compile(rb"\b(?:Seq2Seq|SFT|DPO|GRPO|PPO|Reward)?Trainer\b|\bTrainingArguments\b")
_WORDS = Rare(
    (b"cuda", b"ccelerat", b"nccl", b"gpu", b"device_map"),
    rb"\bcuda\b|\b[aA]ccelerat(?:e|or)\b|\bnccl\b|\bgpus?\b|\bdevice_map\b",
)
_CPU = Rare((b"cpu",), rb"\bcpu\b")
_DEVICE_TEXT = lazy_compile(r"(?:cuda|gpu)(?::.*)?$")
_DEVICE_NAME = lazy_compile(
    r"(?:^|_)(?:device|dev|devices|gpu|cuda|rank|local_rank)(?:_|\d|$)", re.I
)
_CUDA_CALLS = {
    "torch.cuda.current_device",
    "torch.accelerator.current_accelerator",
    "torch.accelerator.current_device_index",
}
# Devices that are not CUDA's: for the rules about CUDA they are as good as the CPU.
_OTHER_WORDS = Rare(
    (
        *(
            quote + name
            for quote in (b"'", b'"')
            for name in (b"xpu", b"npu", b"hpu", b"xla", b"mlu")
        ),
        *(b"torch_xla", b"torch_npu"),
    ),
    rb"[\"'](?:xpu|npu|hpu|xla|mlu)\b|\btorch_xla\b|\btorch_npu\b",
)
_OTHERS = ("mps", "xpu", "npu", "hpu", "tpu", "xla", "meta", "mlu")
_DEPTH = 20


class Devices:
    """What a file says about devices."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self._busy: set[int] = set()

    # -- the program --------------------------------------------------------------------------

    @cached_property
    def _is_handed_torch(self) -> bool:
        """Whether the file has torch of a star import: `from utils import *`."""
        return b"torch." in self.facts.text and "*" in self.facts.names.module.bindings

    @cached_property
    def evidence(self) -> bool:
        """CUDA evidence: this file, or the package it belongs to, names a CUDA device."""
        if not _TORCH.search(self.facts.text) and not self._is_handed_torch:
            return False
        package = self.facts.package
        around = package.names_cuda or (package.project_names_cuda and self._is_handed_device)
        if around and not _OTHER_WORDS.search(self.facts.text):
            return True
        return self.named

    @cached_property
    def _is_handed_device(self) -> bool:
        """Whether the file leaves it to others where its tensors are: `device`, and no "cpu"."""
        if any(node.type == "string_content" for node in self._words(_CPU)):
            return False
        return any(True for _ in self.facts.identifiers("device"))

    @cached_property
    def named(self) -> bool:
        """Whether this file's own code names a CUDA device or a library that stands for one."""
        if self.moves_by_itself or self._imports(_GPU_LIBRARIES):
            return True
        return any(self._is_cuda_word(node) for node in self._words(_WORDS))

    @cached_property
    def moves_by_itself(self) -> bool:
        """Whether a library of the file moves models and batches: accelerate, lightning, Trainer."""
        return self._imports(ACCELERATORS) or self._has_trainer

    @cached_property
    def is_unconditional(self) -> bool:
        """Whether the program cannot run without CUDA: this file names it and shows no fallback."""
        return self.named and not self.falls_back

    @cached_property
    def falls_back(self) -> bool:
        """Whether this file can choose the CPU: a test, an option, or a library that chooses."""
        if self.moves_by_itself or any(True for _ in self.facts.identifiers("accelerator")):
            return True
        if any(not self._is_demand(node) for node in self.facts.identifiers("is_available")):
            return True
        if any(self._is_cpu_choice(node) for node in self._words(_CPU)):
            return True
        if "device" in self.options or "no_cuda" in self.options or "cuda" in self.options:
            return True
        return any(self._is_conditional(node) for node in self.facts.calls("cuda"))

    @cached_property
    def sets_default(self) -> bool:
        """Whether tensors are made on the GPU by default."""
        for call in self.facts.calls("set_default_device", "set_default_tensor_type"):
            given = self.facts.names.arguments(call).positional
            if given and CPU not in self.facts.code(given[0]):
                return True
        return False

    @cached_property
    def options(self) -> dict[str, Node | None]:
        """Command-line options by destination, with the node of their default."""
        found: dict[str, Node | None] = {}
        for call in self.facts.calls("add_argument", "option", "DEFINE_string", "DEFINE_bool"):
            given = self.facts.names.arguments(call)
            texts = [self.facts.code(n).strip("\"'rb") for n in given.positional]
            names = [text for text in texts if text.startswith("--")] or texts[:1]
            dest = given.keywords.get("dest")
            name = self.facts.code(dest).strip("\"'") if dest is not None else (names or [""])[0]
            found[name.lstrip("-").replace("-", "_")] = given.keywords.get("default")
        return found

    # -- expressions --------------------------------------------------------------------------

    def of(self, node: Node) -> str | None:
        """The device an expression names: "cuda" (or may), "cpu", "unknown"; None: no device."""
        if node.id in self._busy or len(self._busy) > _DEPTH:
            return None
        self._busy.add(node.id)
        try:
            return self._of(node)
        finally:
            self._busy.discard(node.id)

    def _of(self, node: Node) -> str | None:
        kind = node.type
        if kind in ("string", "concatenated_string"):
            return _of_text(self.facts.code(node))
        if kind == "integer":
            return CUDA
        if kind == "parenthesized_expression" and node.named_children:
            return self.of(node.named_children[0])
        if kind in ("conditional_expression", "boolean_operator"):
            named = node.named_children
            arms = [named[0], named[-1]] if len(named) > 1 else named
            return either(*(self.of(arm) for arm in arms))
        if kind == "call":
            return self._of_call(node)
        if kind == "identifier":
            return self._of_name(node)
        if kind == "attribute":
            return self._of_attribute(node)
        return None

    def _of_call(self, node: Node) -> str | None:
        callee = self.facts.names.callee(node) or ""
        given = self.facts.names.arguments(node)
        if callee in ("torch.device", "builtins.str") and given.positional:
            return self.of(given.positional[0]) or UNKNOWN
        if callee in _CUDA_CALLS:
            return CUDA
        function = node.child_by_field_name("function")
        word = self.facts.code(function).rpartition(".")[2] if function is not None else ""
        if word in ("get", "getenv") and "RANK" in self.facts.code(node):
            return CUDA
        if callee == "builtins.int" and given.positional:
            return self.of(given.positional[0])
        return UNKNOWN if _DEVICE_NAME.search(word) else None

    def _of_name(self, node: Node) -> str | None:
        found = []
        for binding in self.facts.flow.reaching(node):
            if binding.value is not None and binding.kind in ("assign", "param", "walrus"):
                found.append(self.of(binding.value))
        known = [device for device in found if device is not None]
        if known:
            return either(*known)
        return UNKNOWN if _DEVICE_NAME.search(self.facts.code(node)) else None

    def _of_attribute(self, node: Node) -> str | None:
        name = self.facts.code(node.children[-1])
        owner = node.children[0]
        if self.facts.code(owner) in ("self", "cls"):
            holder = self.facts.names.enclosing(node, "class_definition")
            values = self.facts.names.attributes(holder).get(name, []) if holder else []
            known = [d for d in (self.of(v) for v in values if v.type != "attribute") if d]
            if known:
                return either(*known)
        elif name in self.options:
            default = self.options[name]
            return (self.of(default) if default is not None else None) or UNKNOWN
        if "accelerator" in self.facts.code(owner).lower() and name == "device":
            return CUDA
        if name == "device" and owner.type != "identifier":
            return UNKNOWN
        if name == "device" and (value := self.facts.tensors.value(owner)).kind == "tensor":
            return value.device
        return UNKNOWN if _DEVICE_NAME.search(name) else None

    # -- words --------------------------------------------------------------------------------

    def _words(self, pattern: Rare) -> Iterator[Node]:
        for match in pattern.finditer(self.facts.text):
            node = self.facts.at(match.start(), match.end())
            if node is not None:
                yield node

    def _is_cuda_word(self, node: Node) -> bool:
        text = self.facts.code(node)
        if node.type == "string_content":
            return bool(_DEVICE_TEXT.match(text)) or text == "nccl"
        if node.type != "identifier" or text in ("gpu", "gpus", "nccl"):
            return False
        parent = node.parent
        keyword = parent is not None and parent.type == "keyword_argument"
        is_keyword = keyword and parent is not None and parent.child_by_field_name("name") == node
        return not is_keyword or text == "device_map"

    def _is_demand(self, node: Node) -> bool:
        """`assert torch.cuda.is_available()`, `if not torch.cuda.is_available(): raise`."""
        for holder in ancestors(node):
            if holder.type == "assert_statement":
                return True
            if holder.type == "if_statement":
                body = holder.child_by_field_name("consequence")
                test = holder.child_by_field_name("condition")
                if test is not None and within(node, test) and body is not None:
                    exits = re.search(r"\b(raise|exit|sys\.exit)\b", self.facts.code(body))
                    return "not " in self.facts.code(test) and (leaves(body) or bool(exits))
            if holder.type in ("block", "module"):
                return False
        return False

    def _is_cpu_choice(self, node: Node) -> bool:
        """A "cpu" string that chooses a device; where a checkpoint is loaded to is no choice."""
        if node.type != "string_content" or self.facts.code(node) != CPU:
            return False
        for holder in ancestors(node)[:4]:
            if holder.type == "keyword_argument":
                return self.facts.code(holder.children[0]) != "map_location"
            if holder.type == "call":
                function = self.facts.code(holder.children[0])
                return not function.endswith((".to", "load", "torch.device"))
        return True

    def _is_conditional(self, call: Node) -> bool:
        """Whether a `.cuda()` stands under a condition."""
        holders = ("if_statement", "conditional_expression", "function_definition")
        for holder in ancestors(call):
            if holder.type in holders:
                return holder.type != "function_definition"
        return False

    def _imports(self, modules: tuple[str, ...]) -> bool:
        targets = (binding.target for binding in self.facts.names.imports)
        return any(target.partition(".")[0] in modules for target in targets)

    @cached_property
    def _has_trainer(self) -> bool:
        text = self.facts.text
        if b"Trainer" not in text and b"TrainingArguments" not in text:
            return False
        return any(
            binding.target.partition(".")[0] in ("transformers", "trl")
            and _TRAINERS.search(binding.target.encode()) is not None
            for binding in self.facts.names.imports
        )


def either(*devices: str | None) -> str | None:
    """The device of one of several: CUDA where one may be, the CPU only where all are."""
    known = [device for device in devices if device is not None]
    if not known:
        return None
    if CUDA in known:
        return CUDA
    return CPU if all(device == CPU for device in known) else UNKNOWN


def _of_text(text: str) -> str | None:
    content = text.lstrip("fFrRbB").strip("\"'")
    if content == "cpu":
        return CPU
    if content.startswith("cuda"):
        return CUDA
    if content.startswith(_OTHERS):
        return CPU
    return UNKNOWN if content.startswith("{") else None
