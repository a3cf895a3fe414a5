"""Finds a language model's logits that are made whole, for a cross-entropy alone.

## What it does

Reports a projection onto a vocabulary, by a `nn.Linear` of the class or `F.linear`, whose result
only a cross-entropy reads: through views, shifted slices, a cast to float32 and a soft cap. Logits
that are returned, sampled from or measured are needed, and left alone; so are heads of few classes.

## Why is this bad

Impact: high; the limit is memory. The logits are the largest tensor of a language model's step:
8,192 tokens times 128,256 classes are 2 GB in bf16 and 4 GB more as a float32 copy, and their
gradient is as large again, where all else is 100 MB. They decide the batch size. A fused loss makes
them for some rows at a time and never keeps them.

## Example

```python
import torch.nn as nn
import torch.nn.functional as F

class Model(nn.Module):
    def __init__(self, width, vocab_size):
        super().__init__()
        self.lm_head = nn.Linear(width, vocab_size, bias=False)

    def loss(self, h, labels):
        logits = self.lm_head(h)
        return F.cross_entropy(logits.view(-1, logits.size(-1)).float(), labels.view(-1))
```

## Use instead

```python
from cudalint.kernels import linear_cross_entropy

class Model(nn.Module):
    def __init__(self, width, vocab_size):
        super().__init__()
        self.lm_head = nn.Linear(width, vocab_size, bias=False)

    def loss(self, h, labels):
        return linear_cross_entropy(h.flatten(0, -2), self.lm_head.weight, labels.view(-1))
```

## Fix safety

Unsafe for a module: hooks on it no longer run, and what wraps it (LoRA, FSDP) is passed by. Unsafe
without a cast to float32 in the source, where the loss of half-precision logits becomes float32.
Safe for `F.linear` with the cast, where the project asked for `cudalint.kernels`. The backward pass
makes more than 2²⁷ logits (256 MB in half precision) a second time: a third more arithmetic for this
layer; fewer are kept for it. Not rewritten: class weights, and losses whose options are not in sight.
With `kernel-source = "torch"` advice.

## References

- [Cut Your Losses in Large-Vocabulary Language Models](https://arxiv.org/abs/2411.09009)
- [Liger Kernel](https://arxiv.org/abs/2410.10989)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.candidates import aliases, attributes, functions
from cudalint.facts.graph.patterns.deliberate import is_autograd_function
from cudalint.facts.graph.patterns.lm_heads import heads, projections
from cudalint.facts.graph.patterns.losses import ENTROPY
from cudalint.facts.guards import is_guarded
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span
from cudalint.registry import ENTROPY as ENTROPY_NAMES

MESSAGE = (
    "The logits of the whole vocabulary are kept in memory for this loss alone; "
    "`linear_cross_entropy` makes them for some rows at a time"
)


def check(facts: PythonFacts) -> Iterator[Finding]:
    losses = (*ENTROPY, *aliases(facts, *ENTROPY_NAMES), *attributes(facts, b"CrossEntropyLoss"))
    for function in functions(facts, losses, projections(facts)):
        if is_autograd_function(facts, function):
            continue
        for head in heads(facts, facts.graphs.of(function)):
            node = head.loss.node
            nodes = [v.node for v in head.consumed.values() if v.node and v.body == function]
            if is_guarded(facts, node):
                continue
            span = Span(min(n.start_byte for n in nodes), node.end_byte)
            yield Finding("CUF011", span, MESSAGE, {"head": head})
