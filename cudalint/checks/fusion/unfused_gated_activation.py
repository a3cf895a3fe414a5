"""Finds gated activations whose SiLU or GELU and product are two operations.

## What it does

Reports `silu(gate) * up` and `gelu(gate) * up`: of two tensors, of the halves of a `chunk` in either
order, of two projections in one expression, through functions, `nn.SiLU`, `nn.GELU`, and entries of
`ACT2FN` whose key is written there.

Left alone: an activation that the file does not say (`ACT2FN[config.hidden_act]`), products with
numbers, parameters, masks and other factors that are widened, an activation that is used elsewhere,
functions that are compiled, and the hand-written side of a pair whose other side is fused.

## Why is this bad

Impact: medium; the limit is memory bandwidth. The activation is written and read again, the widest
one of a transformer block, and kept for the backward pass beside gate and up. One kernel reads gate
and up and writes the product: 4.3 instead of 2.5 TB/s on an H200.

## Example

```python
import torch.nn.functional as F

def forward(self, x):
    return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
```

## Use instead

```python
from cudalint.kernels import swiglu

def forward(self, x):
    return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
```

torch has no such function: with `kernel-source = "torch"` the rule only advises. With
`assume-compiled = true` it is silent, because inductor fuses these operations by itself.

## Fix safety

Safe for `F.silu` and `F.gelu` on two linear layers of one width or on the halves of a `chunk`, where
the project asked for `cudalint.kernels` (`kernel-source` is set, or it is a dependency). Unsafe
otherwise: where the activation is a submodule, which hooks can see, and where the shapes are not in
sight. The product is then rounded once instead of twice.

## References

- [GLU Variants Improve Transformer](https://arxiv.org/abs/2002.05202)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.candidates import aliases, attributes, functions
from cudalint.facts.graph.patterns.deliberate import (
    FUSED_GLU,
    is_autograd_helper,
    is_compiled,
    is_deliberate,
)
from cudalint.facts.graph.patterns.gated import Gated, gated_activations
from cudalint.facts.graph.patterns.spans import span_of
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding

if TYPE_CHECKING:
    from tree_sitter import Node

NAMES = (b"silu", b"gelu", b"swish")
CALLS = (b"silu(", b"gelu(", b"swish(", b"SiLU(", b"GELU(")
MODULES = (b"SiLU", b"GELU", b"ACT2FN[", b"get_activation(", *NAMES)
PRODUCT = (b" * ", b"*=", b".mul", b"multiply", b"*")


def check(facts: PythonFacts) -> Iterator[Finding]:
    if facts.settings.assume_compiled:
        return
    held = [name for kind in MODULES for name in attributes(facts, kind)]
    for function in functions(
        facts, (*CALLS, *aliases(facts, *NAMES), *held), PRODUCT, lambdas=True
    ):
        for found in gated_activations(facts.graphs.of(function)):
            span = span_of(found.result, found.consumed, function)
            if span is not None and not _is_wanted(facts, found, function):
                yield Finding("CUF008", span, _message(found), {"gated": found})


def _is_wanted(facts: PythonFacts, found: Gated, function: Node) -> bool:
    """Whether the code is by hand for a reason, or fused by other means."""
    node = found.result.node
    if node is None or is_autograd_helper(facts, function) or is_compiled(facts, function):
        return True
    return is_deliberate(facts, node, FUSED_GLU)


def _message(found: Gated) -> str:
    name = "SiLU" if found.kind == "swiglu" else "GELU"
    return (
        f"A {name} and the product that it gates write the activation and read it again; "
        f"one `{found.kind}` call computes both"
    )
