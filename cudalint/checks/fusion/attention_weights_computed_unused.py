"""Finds `nn.MultiheadAttention` called for its weights, which are then thrown away.

## What it does

Reports calls of a `torch.nn.MultiheadAttention` of the class that say nothing of `need_weights`,
whose default is True, where the second result is not used: `out, _ = self.attn(x, x, x)` and
`self.attn(x, x, x)[0]`. Calls whose results are returned, stored or passed on as a pair are left
alone, and so are calls with `**kwargs` and explicit choices.

## Why is this bad

Impact: high; the limit is memory bandwidth, and memory. To return the weights torch computes them:
two matrix products and a softmax with length × length tensors per head in between, and a mean over
the heads on top. Without them the module calls `scaled_dot_product_attention`, which keeps the
scores on chip.

## Example

```python
import torch.nn as nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 8, batch_first=True)

    def forward(self, x):
        out, _ = self.attn(x, x, x)
        return x + out
```

## Use instead

```python
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 8, batch_first=True)

    def forward(self, x):
        out, _ = self.attn(x, x, x, need_weights=False)
        return x + out
```

## Fix safety

Safe where the module is made with no dropout. With dropout other random numbers are drawn in
training, so the fix is unsafe. Rows that a mask hides altogether give NaN with the weights and may
give zeros without them; a hook on the module sees None in place of the weights.

## References

- [MultiheadAttention](https://pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.attention_modules import WORD, unused_weights
from cudalint.facts.graph.patterns.candidates import aliases, attributes, functions
from cudalint.facts.guards import is_guarded
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span

MESSAGE = (
    "The attention weights of this call are thrown away, and computing them keeps it from the "
    "fused kernel; pass `need_weights=False`"
)


def check(facts: PythonFacts) -> Iterator[Finding]:
    calls = [name for word in (WORD, *aliases(facts, WORD)) for name in attributes(facts, word)]
    for function in functions(facts, calls) if calls else ():
        for found in unused_weights(facts, facts.graphs.of(function)):
            if not is_guarded(facts, found.node):
                span = Span(found.node.start_byte, found.node.end_byte)
                yield Finding("CUF019", span, MESSAGE, {"call": found})
