"""Finds softmax written out: the maximum taken off, `exp`, and a division by the sum.

## What it does

Reports `e / e.sum(dim)` with `e = exp(x - x.max(dim))`, and `exp(x - x.logsumexp(dim))`, in one
statement or in many; the maximum may be `amax`, `max(…)[0]`, `max(…).values` or the maximum of the
whole tensor, and may be detached.

Left alone: a running maximum, a maximum or a sum over something else, NumPy, a step of an autograd
function, and the hand-written side of a pair whose other side is fused.

## Why is this bad

Impact: medium; the limits are memory bandwidth and launches. The maximum, the difference, the
exponential, the sum and the division are five kernels that read and write the whole tensor eight
times, and autograd keeps three copies of it. A fused softmax reads it once and writes it once.

## Example

```python
import torch

e = torch.exp(scores - scores.max(dim=-1, keepdim=True).values)
weights = e / e.sum(dim=-1, keepdim=True)
```

## Use instead

```python
from cudalint.kernels import softmax

weights = softmax(scores, dim=-1)
```

With `kernel-source = "torch"` the fix writes `torch.softmax`.

## Fix safety

Safe where one known dim is summed and kept, and where the project asked for `cudalint.kernels`
(`kernel-source` is set, or it is a dependency), else unsafe, for the dependency: the results agree
up to rounding. Not rewritten: a sum with an epsilon or a mask in it, a sum whose dim is dropped or
not known, and an exponential, a maximum or a sum that is used elsewhere.

## References

- [softmax](https://pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html)
- [Online normalizer calculation for softmax](https://arxiv.org/abs/1805.02867)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cudalint.facts.graph.patterns.candidates import aliases, functions
from cudalint.facts.graph.patterns.deliberate import (
    is_autograd_function,
    is_compiled,
    is_deliberate,
)
from cudalint.facts.graph.patterns.softmaxes import stable_softmaxes
from cudalint.facts.graph.patterns.spans import span_of
from cudalint.facts.python import PythonFacts
from cudalint.lazy import lazy_compile
from cudalint.model import Finding

# Of tensors: neither Python's, NumPy's nor Triton's.
EXP = lazy_compile(rb"exp(?<!math\.exp)(?<!np\.exp)(?<!numpy\.exp)(?<!tl\.exp)_?\(")
LARGEST = (b"max(", b"maximum(", b"logsumexp")
SUM = (b"sum",)
FUSED = lazy_compile(rb"softmax|fused|triton|flash|kernel", re.IGNORECASE)


def check(facts: PythonFacts) -> Iterator[Finding]:
    for function in functions(facts, (EXP, *aliases(facts, b"exp")), LARGEST, SUM, lambdas=True):
        if is_autograd_function(facts, function) or is_compiled(facts, function):
            continue
        for found in stable_softmaxes(facts.graphs.of(function)):
            node, span = found.result.node, span_of(found.result, found.consumed, function)
            if node is not None and span is not None and not is_deliberate(facts, node, FUSED):
                yield Finding("CUF003", span, _message(facts), {"softmax": found})


def _message(facts: PythonFacts) -> str:
    fused = "torch.softmax" if facts.settings.kernel_source == "torch" else "softmax"
    return (
        "A softmax by hand reads and writes its input at every operation; "
        f"one `{fused}` call reads it once and writes it once"
    )
