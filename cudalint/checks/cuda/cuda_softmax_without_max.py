"""A softmax in CUDA that takes exponentials without subtracting the row's maximum.

## What it does

Finds kernels and device functions in which `e = exp(a)` is divided by a sum of the same `e`, and
no maximum reaches `a`: not by subtraction, `-=`, a ternary or `if` that keeps the larger, the
fields of a vector, nor a `__device__` helper of the file. Gates and sigmoids
(`exp(x) / (1 + exp(x))`), decays and distances (`exp(-x)`), online softmaxes, subtracted
logarithms of sums and exponents that come out of unknown functions are left alone.

## Why is this bad

`exp` overflows: in float from 88.8 on, in half from 11.1. One logit above that makes its
exponential infinite and the whole row `inf / inf`, that is NaN; a row of logits far below zero is
`0 / 0`. The mathematically equal form with the maximum subtracted cannot overflow. Expected
impact on speed: low, one more pass over a row that is in the cache; on results: everything, on
the inputs that trigger it.

## Example

```cuda
float sum = 0.0f;
for (int c = 0; c < cols; ++c) sum += expf(x[c]);
for (int c = 0; c < cols; ++c) y[c] = expf(x[c]) / sum;
```

## Use instead

```cuda
float max_value = -INFINITY;
for (int c = 0; c < cols; ++c) max_value = fmaxf(max_value, x[c]);
float sum = 0.0f;
for (int c = 0; c < cols; ++c) sum += expf(x[c] - max_value);
for (int c = 0; c < cols; ++c) y[c] = expf(x[c] - max_value) / sum;
```

## Fix safety

The fix is safe where one thread walks the whole row in a loop that is in sight: it adds the pass
for the maximum and subtracts it, which changes results only by rounding, and from NaN to numbers.
Where several threads share a row, the maximum needs a reduction over them: the finding then comes
without a fix.

## References

- [Online normalizer calculation for softmax](https://arxiv.org/abs/1805.02867)
- [CUDA math API: single precision](https://docs.nvidia.com/cuda/cuda-math-api/cuda_math_api/group__CUDA__MATH__SINGLE.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.cuda import CudaFacts
from cudalint.facts.cuda.evaluate import short
from cudalint.facts.cuda.softmax import naive_softmaxes
from cudalint.model import Finding, Span


def check(facts: CudaFacts) -> Iterator[Finding]:
    for found in naive_softmaxes(facts):
        first, last = found.exponentials[0], found.division
        start = min(first.start_byte, last.start_byte)
        end = max(found.exponentials[-1].end_byte, last.end_byte)
        row = facts.source.row(last.start_byte) + 1
        message = (
            f"No maximum is subtracted before `{short(facts.code(first))}`, which line {row} "
            "divides by its sum: large values overflow to NaN"
        )
        yield Finding("CUK002", Span(start, end), message, {"softmax": found})
