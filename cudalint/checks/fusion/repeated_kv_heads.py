"""Finds heads of keys and values that are repeated in memory for `scaled_dot_product_attention`.

## What it does

Reports calls of torch's fused attention whose keys and values were given one copy of a head for
each query head that shares it: by `repeat_interleave` over the heads, by a new dim that is expanded
and folded in, by a `repeat_kv` of the file or of Transformers, also under `if n_rep > 1:`.

Left alone: calls with a mask, which only some of the kernels that know grouped heads take; copies
of the whole block of heads (`repeat(1, n, 1, 1)`), which pair other keys with the queries; and
attention by hand, which is another rule's.

## Why is this bad

Impact: medium; the limit is memory bandwidth, and memory. Grouped heads exist so that fewer keys and
values are kept and read. Repeating them writes, keeps for the backward pass and reads n times as
much, in decoding at every step over the whole cache. With `enable_gqa=True` the kernel reads each
head once and hands it to all its queries.

In half precision, that is: in float32 torch has no fused kernel for grouped heads, and falls to one
that writes the scores, 1.3 to 1.4 times slower than repeated heads (measured on an H200).

## Example

```python
import torch.nn.functional as F

def attend(q, k, v, groups):
    k = k.repeat_interleave(groups, dim=1)
    v = v.repeat_interleave(groups, dim=1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)
```

## Use instead

```python
def attend(q, k, v, groups):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
```

## Fix safety

Safe where the number of copies is read as query heads over key heads; unsafe where it is not in
sight. The argument needs torch 2.5. Not rewritten where the copies are used elsewhere, nor where the
file shows tensors in float32; where they come from is often another file, so keep the copies in a
program that computes attention in float32.

## References

- [scaled_dot_product_attention](https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)
- [GQA](https://arxiv.org/abs/2305.13245)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.candidates import aliases, functions
from cudalint.facts.graph.patterns.fused_attention import CALL, WORD, fused_calls
from cudalint.facts.graph.patterns.kv_heads import repeated_heads
from cudalint.facts.guards import is_guarded
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span

REPEATING = (b"repeat", b"expand")
MESSAGE = (
    "Key and value heads are copied once per query head before attention reads them; "
    "with `enable_gqa=True` it reads each once"
)


def check(facts: PythonFacts) -> Iterator[Finding]:
    for function in functions(facts, (CALL, *aliases(facts, WORD)), REPEATING):
        graph = facts.graphs.of(function)
        for call in fused_calls(facts, graph):
            found = repeated_heads(facts, graph, call)
            if found is None or is_guarded(facts, call.node):
                continue
            values = found.consumed.values()
            nodes = [v.node if v.body == function else v.site for v in values if v.node]
            first = min(node.start_byte for node in nodes if node is not None)
            span = Span(min(first, call.node.start_byte), call.node.end_byte)
            yield Finding("CUF016", span, MESSAGE, {"heads": found})
