"""Finds int8 and int4 weights that are expanded to floats in memory for a matrix product.

## What it does

Reports a product (`F.linear`, `matmul`, `@`, `addmm` …) whose weight the same function has just made
from integers: `qweight.to(x.dtype) * scales`, the same with zero points and groups, int4 weights
unpacked by shifts and masks, and int8 weights that are cast first and whose product is scaled. The
integers are known by the dtype of the buffer, by their name (`qweight`, `weight_int8`), or by the
unpacking. Left alone: quantization-aware training (the weight is rounded there, not stored), tensors
that are quantized activations, references, and the branch beside a fused kernel.

## Why is this bad

Memory bandwidth; impact: high in decoding. With few rows in x a linear layer only takes as long as its
weight takes to be read. Expanded weights are read (1 byte), written (2 bytes) and read again (2 bytes)
for each product, more with every step in between: slower than half-precision weights would be, with
the memory of an expanded layer on top. A kernel that expands them in registers reads one byte a
weight, or half a byte.

## Example

```python
weight = self.qweight.to(x.dtype) * self.scales[:, None]
return F.linear(x, weight, self.bias)
```

## Use instead

```python
from cudalint.kernels import int8_linear

return int8_linear(x, self.qweight, self.scales, self.bias)
```

`int4_linear` takes the layouts of GPTQ and AWQ.

## Fix safety

Unsafe. `int8_linear` is written for the plain form alone: a buffer that the class makes as `torch.int8`,
cast to the dtype of the input, with one scale for each row, before or after the product. Its result has
the input's dtype, also where scales in float32 after the product would have made it float32; scales get
no gradient. Everything else is advice: the layout of packed weights, of groups and zero points is the
model's own. With many rows in x (a prompt of hundreds of tokens) expanding first is a fair choice.
So it is for training through the layer: in float32, and compiled, the function expands the weight once
and keeps it for the gradient of x, as the program did; in half precision it expands it again.

## References

- [LLM.int8()](https://arxiv.org/abs/2208.07339)
- [GPTQ](https://arxiv.org/abs/2210.17323)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.candidates import PRODUCTS, functions
from cudalint.facts.graph.patterns.deliberate import is_autograd_function, is_deliberate
from cudalint.facts.graph.patterns.dequantized import Expanded, expanded
from cudalint.facts.python import PythonFacts
from cudalint.facts.tensors.definitions import bases
from cudalint.lazy import lazy_compile
from cudalint.model import Finding, Span
from cudalint.registry import INTEGERS, STORED

if TYPE_CHECKING:
    from tree_sitter import Node

LINEAR = (*PRODUCTS, b"linear(", b"addmm")
SCALE = (b"scale", b"absmax", b"delta", b"dequant")
FUSED = lazy_compile(
    rb"kernel|fused|triton|cuda_|_cuda|torch\.ops|marlin|cutlass|int[48]\w*_(?:matmul|linear|gemm)|_mm\(",
    re.IGNORECASE,
)


def check(facts: PythonFacts) -> Iterator[Finding]:
    for function in functions(facts, LINEAR, SCALE):
        if not _may_be_stored(facts, function) or is_autograd_function(facts, function):
            continue
        for found in expanded(facts, facts.graphs.of(function)):
            span = _span(found, function)
            if span is None or _is_wanted(facts, found):
                continue
            yield Finding("CUF015", span, _message(found), {"expanded": found})


def _may_be_stored(facts: PythonFacts, function: Node) -> bool:
    """Whether a name of the file, or a dtype in the class around a function, says that a weight is
    kept as integers."""
    if facts.places(STORED):
        return True
    holder = facts.names.enclosing(function, "class_definition")
    if holder is None:
        return False
    if facts.holds(INTEGERS, holder.start_byte, holder.end_byte):
        return True
    return any(own is not None for _, own in bases(facts, holder))


def _span(found: Expanded, function: Node) -> Span | None:
    """From the first step of the expansion, where it stands in this function, to the product."""
    node, first = found.result.node, found.first(function)
    if node is None or found.result.body != function:
        return None
    return Span(min((first or node).start_byte, node.start_byte), node.end_byte)


def _is_wanted(facts: PythonFacts, found: Expanded) -> bool:
    node = found.result.node
    return node is None or is_deliberate(facts, node, FUSED)


def _message(found: Expanded) -> str:
    name = str(found.stored.attrs[0])
    kernel = "int4_linear" if found.unpacks else "int8_linear"
    return (
        f"`{name}` is expanded to floats in memory for this product, which then reads it again; "
        f"a kernel such as `{kernel}` expands it in registers"
    )
