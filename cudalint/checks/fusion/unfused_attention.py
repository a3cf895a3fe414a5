"""Finds attention written as matmul, softmax and matmul.

## What it does

Reports a product of queries and keys whose softmax over the keys is multiplied with values, by
what is computed and not by how it is spelled: `@`, `matmul`, `bmm`, `baddbmm` and `einsum`, in one
statement or in many, with a scale, a soft cap, biases, masks, a causal triangle, a cast to fp32 and
dropout in between. Code whose attention weights are returned, stored or used elsewhere needs them
in memory and is left alone, and so is the hand-written side of a pair whose other side is fused.

## Why is this bad

Impact: high; the limit is memory bandwidth, and memory. The scores and the weights are two tensors
of length × length per head. They are written and read once per operation (scale, mask, softmax,
dropout), so a layer that could be compute-bound waits for memory, and the peak grows with the
square of the sequence. A fused kernel keeps them on chip: 520 instead of 27 TFLOP/s on an H200 at
4,096 tokens.

## Example

```python
import torch.nn.functional as F

scores = q @ k.transpose(-2, -1) * self.scale
weights = F.softmax(scores, dim=-1)
x = weights @ v
```

## Use instead

```python
from cudalint.kernels import attention

x = attention(q, k, v, scale=self.scale)
```

With `kernel-source = "torch"` the fix writes `F.scaled_dot_product_attention`. In full float32 that is
1.2 times as fast as this code in eager mode on an H200, and compiled, without the causal mask, 0.88
times: inductor leaves the products to cuBLAS, as `attention` then does itself. So with
`assume-compiled = true` as well it is only reported, unless the file shows half precision, the
triangle is causal, or `precision-policy = "bf16"`.

## Fix safety

Safe with no dropout, no mask or a causal one, whose dims are read from the file, where the project
asked for `cudalint.kernels` (`kernel-source` is set, or it is a dependency). Unsafe otherwise: the
import is a new dependency; with dropout other random numbers are drawn; rows that a finite fill
masks altogether give zeros and not the mean; hooks on a softmax or dropout module no longer run.
Not rewritten, with the reason in the message: where the scores change their shape on the way,
where a statement that would go is read elsewhere, and where an operation has no place in the fused
function.

## References

- [FlashAttention](https://arxiv.org/abs/2205.14135)
- [scaled_dot_product_attention](https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.attention import Attention, attentions
from cudalint.facts.graph.patterns.candidates import (
    PRODUCT_NAMES,
    PRODUCTS,
    SOFTMAX,
    aliases,
    attributes,
    functions,
    modules,
)
from cudalint.facts.graph.patterns.deliberate import is_deliberate
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span


def check(facts: PythonFacts) -> Iterator[Finding]:
    soft = (*SOFTMAX, *aliases(facts, b"oftmax"), *attributes(facts, b"oftmax"))
    products = (*PRODUCTS, *aliases(facts, *PRODUCT_NAMES), *modules(facts, PRODUCTS))
    for function in functions(facts, soft, products):
        graph = facts.graphs.of(function)
        for found in attentions(graph):
            nodes = found.nodes(function)
            result = graph.node_of(found.result)
            inner = found.result.body != function  # of a helper that is handed its parts
            if result is None or (inner and found.softmax.value.body != function):
                continue
            if not is_deliberate(facts, result):
                span = Span(min(nodes[0].start_byte, result.start_byte), result.end_byte)
                yield Finding("CUF001", span, _message(facts, found), {"attention": found})


def _message(facts: PythonFacts, found: Attention) -> str:
    fused = "attention"
    if facts.settings.kernel_source == "torch":
        fused = "F.scaled_dot_product_attention"
    return (
        "Attention by hand writes its scores and weights, length × length per head, to memory "
        f"at every operation; one `{fused}` call keeps them on chip"
    )
