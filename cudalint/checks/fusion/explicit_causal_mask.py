"""Finds a causal triangle that is made as a tensor and passed to `scaled_dot_product_attention`.

## What it does

Reports calls of torch's fused attention whose `attn_mask` is the causal triangle: `tril` of ones
as booleans, its complement's `~`, `triu` of minus infinity above the diagonal, `masked_fill`,
`where` and `generate_square_subsequent_mask`, made in the function or as a buffer that is sliced to
the length of the sequence. The lengths must be read from the file: a cache may hold more keys than
there are queries, and `is_causal=True` means another mask then.

## Why is this bad

Impact: high; the limit is memory bandwidth. Flash attention takes no mask, so a mask sends the call
to a slower kernel, or to the one that writes all scores to memory. The mask itself is a tensor of
length × length that is made and read at every call, and the upper half of the scores, which is
computed only to be thrown away, is half of the work: with `is_causal=True` it is skipped.

## Example

```python
import torch
import torch.nn.functional as F

def attend(q, k, v):
    B, H, T, D = k.shape
    mask = torch.tril(torch.ones(T, T, dtype=torch.bool, device=k.device))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
```

## Use instead

```python
def attend(q, k, v):
    B, H, T, D = k.shape
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)
```

## Fix safety

Safe for a boolean mask and for one of minus infinity: the same keys take part. Unsafe for a large
finite number in its place, and where the keys come out of a rotary embedding whose tables' shape is
not in sight. Statements that only made the mask go; buffers stay, because they may
be keys of a checkpoint.

## References

- [scaled_dot_product_attention](https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.candidates import aliases, functions
from cudalint.facts.graph.patterns.fused_attention import CALL, WORD, causal_mask, fused_calls
from cudalint.facts.guards import is_guarded
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span

MESSAGE = (
    "This mask is the causal triangle as a tensor: it keeps the call from the flash kernel; "
    "`is_causal=True` needs no mask and skips half of the work"
)


def check(facts: PythonFacts) -> Iterator[Finding]:
    for function in functions(facts, (CALL, *aliases(facts, WORD))):
        graph = facts.graphs.of(function)
        for call in fused_calls(facts, graph):
            found = causal_mask(facts, graph, call)
            if found is not None and not is_guarded(facts, call.node):
                span = Span(call.node.start_byte, call.node.end_byte)
                yield Finding("CUF018", span, MESSAGE, {"call": call, "mask": found})
