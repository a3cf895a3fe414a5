"""Precision: every place where a file chooses one, or leaves the choice to an option."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_WORDS = Rare(
    (
        *(b"autocast", b"cale", b"amp", b"AMP", b"16", b"32", b"recision", b"half", b"64"),
        *(
            b"ouble",
            b"HalfTensor",
            b"dtype",
            b"load_in_",
            b"quantization",
            b"BitsAnd",
            b"8",
            b"GPTQ",
        ),
    ),
    rb"autocast|[gG]rad_?[sS]caler|\bamp\b|_amp\b|\bamp_|\bAMP|_AMP\b|float16|\bf16\b|[fF][pP]_?16"
    rb"|[bB][fF]16|[tT][fF]32|float32_matmul|matmul_precision|fp32_precision|[mM]ixed_?[pP]recision"
    rb"|\bhalf\b|float64|\bdouble\b|DoubleTensor|HalfTensor|set_default_dtype|load_in_[48]bit"
    rb"|quantization_config|BitsAndBytes|\bfp8|float8|torch_dtype|(?:weight|param|compute|model)_dtype"
    rb"|ptdtype|precision_plugin|--precision|--dtype|GPTQ",
)
# Calls that make or reduce values, whatever the model is made of.
_VALUES = {
    *("sum", "mean", "cumsum", "cumprod", "linspace", "arange", "tensor", "as_tensor", "full"),
    *("zeros", "ones", "from_numpy"),
}
# In prose only the words that name a format.
_FORMATS = lazy_compile(
    rb"^-*(?:use[-_])?(?:amp|b?f(?:p|loat)?16|bfloat16|tf32|mixed.precision|half|"
    rb"float64|dtype|precision|fp16.*|bf16.*|amp.*)$",
    re.I,
)
_OPTIONS = lazy_compile(
    r"^(?:args|cfg|config|opt|hparams|hps|flags|FLAGS|conf|params)\b.*\.(?:dtype|precision)$"
)


class Precision:
    """Whether the program has thought about precision."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts

    @cached_property
    def chosen(self) -> Node | None:
        """The first place that chooses a precision: autocast, a half or double type, TF32, an option.

        Comments and docstrings choose nothing; an option that is only there counts.
        """
        for match in _WORDS.finditer(self.facts.text):
            node = self.facts.at(match.start(), match.end())
            if node is not None and self._is_choice(node):
                return node
        return self._given()

    def _is_choice(self, node: Node) -> bool:
        if node.type in ("string_content", "string"):
            return _FORMATS.match(self.facts.code(node).encode()) is not None
        if node.type != "identifier":
            return False
        text = self.facts.code(node)
        parent = node.parent
        if self._is_idle(node):
            return False
        if text in ("half", "double"):  # half a width is no format
            return parent is not None and self._is_format(parent, node)
        if text == "float64":
            return parent is not None and self._is_double(parent)
        return True

    def _is_idle(self, node: Node) -> bool:
        """`from apex import amp` in a file that names it nowhere else: it may have used it once."""
        path = node.parent
        statement = path.parent if path is not None else None
        if path is None or statement is None or statement.type != "import_from_statement":
            return False
        if path.type != "dotted_name" or path == statement.child_by_field_name("module_name"):
            return False
        uses = self.facts.identifiers(self.facts.code(path))
        return sum(1 for _ in uses) == 1

    def _is_double(self, owner: Node) -> bool:
        """`torch.float64` as a model's or a default's: not an exact sum, a schedule, or NumPy's."""
        if (self.facts.names.qualified(owner.children[0]) or "") == "numpy":
            return False
        call = self.facts.names.enclosing(owner, "call")
        callee = call.children[0] if call is not None else None
        name = self.facts.code(callee).rpartition(".")[2] if callee is not None else ""
        return name not in _VALUES

    def _is_format(self, owner: Node, node: Node) -> bool:
        """`x.half()`, `torch.double`: an attribute that is called, or torch's."""
        if owner.type != "attribute" or owner.children[-1] != node:
            return False
        call = owner.parent
        is_called = call is not None and call.type == "call" and call.children[0] == owner
        return is_called or self.facts.names.qualified(owner.children[0]) == "torch"

    def _given(self) -> Node | None:
        """`Trainer(precision=…)`, `from_pretrained(…, dtype=…)`, and options read by attribute."""
        for call in self.facts.calls("Trainer", "Fabric", "from_pretrained", "pipeline", "to"):
            keywords = self.facts.names.arguments(call).keywords
            for name in ("precision", "dtype", "plugins"):
                value = keywords.get(name)
                if value is not None and not re.search(r"float(?:32)?$", self.facts.code(value)):
                    return value
        for node in self.facts.identifiers("dtype", "precision"):
            owner = node.parent
            is_option = owner is not None and owner.type == "attribute"
            if owner is not None and is_option and _OPTIONS.match(self.facts.code(owner)):
                return owner
        return None
