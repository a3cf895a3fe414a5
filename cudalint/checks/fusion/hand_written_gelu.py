"""Finds GELU and SiLU written out operation by operation.

## What it does

Reports the exact form `0.5 * x * (1 + erf(x / sqrt(2)))`, the tanh form with its 0.044715, and
`x * sigmoid(x)`, in any order of factors, over temporaries and helpers of the file, and with
constants under any name. `x * sigmoid(1.702 * x)` is reported as well: torch has no such function.

Left alone: a normal distribution function that is not multiplied by its argument, other slopes than
1 and 1.702, a sigmoid that is used elsewhere, derivatives inside of an autograd function, and the
hand-written side of a pair whose other side is torch's.

## Why is this bad

Impact: medium; the limits are memory bandwidth and launches. The tanh form is eight kernels that
each read and write the whole activation, four of them kept for the backward pass; the exact form is
five, `x * sigmoid(x)` two. torch's function is one kernel and keeps x alone.

## Example

```python
import math

import torch

def gelu(x):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))
```

## Use instead

```python
import torch.nn.functional as F

def gelu(x):
    return F.gelu(x, approximate="tanh")
```

The exact form becomes `F.gelu(x)`, `x * sigmoid(x)` becomes `F.silu(x)`. All are torch's own, so
`kernel-source` makes no difference.

## Fix safety

Safe: the result is the same up to rounding, and the erf and tanh forms, which differ by 5e-4, are
never exchanged. Unsafe where a constant is written with so few digits (`1.4142`) that float32 can
tell. Under autocast `torch.pow` gives float32 and torch's function does not. Not rewritten: the form
with 1.702, and an intermediate value that is used elsewhere.

## References

- [Gaussian Error Linear Units](https://arxiv.org/abs/1606.08415)
- [gelu](https://pytorch.org/docs/stable/generated/torch.nn.functional.gelu.html)
- [silu](https://pytorch.org/docs/stable/generated/torch.nn.functional.silu.html)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.activations import Activation, activations
from cudalint.facts.graph.patterns.candidates import attributes, functions, helpers
from cudalint.facts.graph.patterns.deliberate import (
    FUSED_ACTIVATION,
    is_autograd_helper,
    is_compiled,
    is_deliberate,
)
from cudalint.facts.graph.patterns.literals import Literals
from cudalint.facts.graph.patterns.spans import span_of
from cudalint.facts.python import PythonFacts
from cudalint.facts.words import Word
from cudalint.lazy import lazy_compile
from cudalint.model import Finding

if TYPE_CHECKING:
    from tree_sitter import Node

# `tl.sigmoid` and `math.erf` are of no tensor of torch's.
CURVES: tuple[Word, ...] = (
    *(lazy_compile(rb"erf(?<!math\.erf)(?<!tl\.erf)\("), lazy_compile(rb"tanh(?<!math\.tanh)_?\(")),
    *(lazy_compile(rb"igmoid(?<!tl\.sigmoid)_?\("), b"ndtr("),
)
NORMAL: tuple[Word, ...] = (CURVES[0], b"ndtr(")
CUBIC = b"0447"
GATE = lazy_compile(rb"([\w.]*)igmoid_?\(([^()]*)\)?")
PRODUCT = (b"*", b".mul", b"multiply")
_TORCH = {
    "erf": "F.gelu(x)",
    "tanh": 'F.gelu(x, approximate="tanh")',
    "silu": "F.silu(x)",
}


def check(facts: PythonFacts) -> Iterator[Finding]:
    gates = attributes(facts, b"Sigmoid")
    curves = (*CURVES, *gates, *helpers(facts, NORMAL))
    for function in functions(
        facts, curves, PRODUCT, where=partial(_may_hold, facts.text, gates), lambdas=True
    ):
        literals = Literals(facts, facts.graphs.classes.of(function))
        for found in activations(facts.graphs.of(function), literals):
            span = span_of(found.result, found.consumed, function)
            if span is not None and not _is_wanted(facts, found, function):
                yield Finding("CUF007", span, _message(found), {"activation": found})


def _may_hold(source: bytes, gates: tuple[bytes, ...], start: int, end: int) -> bool:
    """Whether the words are there that the forms cannot be written without.

    The tanh form has its cubic term, here or in a constant of the file; a sigmoid is multiplied by
    something that its argument names, in a row of its own or in that of the sigmoid.
    """
    text = source[start:end]
    if b"erf(" in text or b"ndtr(" in text or (b"tanh" in text and CUBIC in source):
        return True
    if any(gate in text for gate in gates):
        return True
    text = re.sub(rb"\s*\n\s*(?=[*.)])|(?<=[*(])\s*\n\s*", b" ", text)
    rest = GATE.sub(b"", text)
    rows = b"\n".join(row for row in rest.split(b"\n") if b"*" in row or b"mul" in row)
    named = {name for found in GATE.finditer(text) for name in _names(found)}
    return any(re.search(rb"\b%s\b" % name, rows) for name in named) or (
        b"igmoid" not in text and b"tanh" not in text
    )


def _names(found: re.Match[bytes]) -> Iterator[bytes]:
    """What a sigmoid is taken of: `torch.sigmoid(x)`, `x.sigmoid()`."""
    for name in re.findall(rb"[A-Za-z_]\w*", found.group(1) + b" " + found.group(2)):
        if name not in (b"torch", b"F", b"nn", b"functional", b"self", b"s", b"S"):
            yield name


def _is_wanted(facts: PythonFacts, found: Activation, function: Node) -> bool:
    """Whether the code is by hand for a reason, or fused by other means."""
    node = found.result.node
    if node is None or is_autograd_helper(facts, function) or is_compiled(facts, function):
        return True
    return is_deliberate(facts, node, FUSED_ACTIVATION)


def _message(found: Activation) -> str:
    if found.kind == "quick":
        return (
            "`x * sigmoid(1.702 * x)` is three kernels where `F.gelu(x)`, which it was made to "
            "approximate, is one"
        )
    name = "SiLU" if found.kind == "silu" else "GELU"
    return (
        f"{name} by hand reads and writes the activation at every operation; "
        f"`{_TORCH[found.kind]}` reads and writes it once"
    )
