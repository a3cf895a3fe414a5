"""Finds softmax written as `exp(x) / exp(x).sum(…)`, with no maximum taken off before.

## What it does

Reports a tensor's exponential that is divided by the sum of the same exponential, in one statement
or in many, where nothing bounds what is exponentiated: no maximum or log-sum-exp is subtracted,
and it is no `tanh`, log-softmax, negative square or distance, or dot product of normalised vectors.

Left alone: sums over other values than the numerator's, as in contrastive losses, and NumPy.

## Why is this bad

Impact: high, because it is wrong before it is slow. `exp` overflows float32 above 88.7 and
float16 above 11.1; the result is then `inf / inf`, which is NaN, and one NaN ends a training run.
It is also three kernels that each read and write the whole tensor (memory bandwidth) where a
fused softmax reads and writes it once.

## Example

```python
import torch

e = torch.exp(scores)
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
up to rounding wherever the original did not overflow. Not rewritten: a sum with an epsilon or a
mask in it, a sum whose dim is dropped or not known, and an exponential that is used elsewhere.

## References

- [softmax](https://pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html)
- [Online normalizer calculation for softmax](https://arxiv.org/abs/1805.02867)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.candidates import aliases, functions
from cudalint.facts.graph.patterns.deliberate import is_autograd_function
from cudalint.facts.graph.patterns.softmaxes import HandSoftmax, unstable_softmaxes
from cudalint.facts.graph.patterns.spans import span_of
from cudalint.facts.python import PythonFacts
from cudalint.lazy import lazy_compile
from cudalint.model import Finding

# Of tensors: neither Python's, NumPy's nor Triton's, and no log-sum-exp.
EXP = lazy_compile(rb"exp(?<![a-z]exp)(?<!math\.exp)(?<!np\.exp)(?<!numpy\.exp)(?<!tl\.exp)_?\(")
SUM = (b"sum(",)
QUOTIENT = (b"/", b"div", b"reciprocal")


def check(facts: PythonFacts) -> Iterator[Finding]:
    for function in functions(facts, (EXP, *aliases(facts, b"exp")), SUM, QUOTIENT, lambdas=True):
        for found in unstable_softmaxes(facts.graphs.of(function)):
            span = span_of(found.result, found.consumed, function)
            if span is not None and not is_autograd_function(facts, function):
                yield Finding("CUF002", span, _message(facts, found), {"softmax": found})


def _message(facts: PythonFacts, found: HandSoftmax) -> str:
    fused = "torch.softmax" if facts.settings.kernel_source == "torch" else "softmax"
    advice = f"`{fused}` subtracts it" if found.plain and found.exact else "subtract it first"
    return (
        "This softmax overflows to NaN for large inputs, because no maximum is subtracted "
        f"before `exp`; {advice}"
    )
