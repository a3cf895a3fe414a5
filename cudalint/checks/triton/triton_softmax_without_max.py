"""Finds softmaxes in Triton kernels that do not subtract the maximum first.

## What it does

Reports `e = tl.exp(a)` divided by a sum of the same `e` where the definitions of `a` hold no
maximum: what was loaded or multiplied is exponentiated as it is. Found through names, casts,
masks, `exp2`, accumulations over a loop, a second pass that reads the data again, and helpers of
the file.

Silent where anything in `a` is subtracted or clamped from above, and where a helper is unknown: a
gate (`exp` of a difference of cumulative sums), a log-sum-exp that is already off, a running
maximum. An element-wise `tl.maximum(x, 0)` or a negation is no maximum of the row.

## Why is this bad

Impact: high, on correctness. `exp` of 89 overflows float32 (of 12, float16): one large logit makes
the sum infinite and the row NaN or 0. With the maximum off, the largest exponent is 0. The maximum
costs a reduction over registers and no memory traffic.

## Example

```python
x = tl.load(row + columns, mask=columns < n, other=-float("inf"))
e = tl.exp(x)
tl.store(out + columns, e / tl.sum(e, axis=0), mask=columns < n)
```

## Use instead

```python
e = tl.exp(x - tl.max(x, axis=0))
```

## Fix safety

Safe: softmax does not change when a row is shifted, but for rounding, and rows that overflowed now
come out right. Rewritten only where the row is whole in one block, its masked lanes are known to
hold minus infinity (or are masked after the exponential, by the same mask), and neither the
exponential nor its sum is used for anything but the quotient. Sums accumulated over a loop need a
pass for the maximum, or an online softmax, and are left to you.

## References

- [Fused softmax](https://triton-lang.org/main/getting-started/tutorials/02-fused-softmax.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.python import PythonFacts
from cudalint.facts.triton import Triton
from cudalint.facts.triton_softmax import Softmaxes
from cudalint.model import Finding, Span


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Every softmax of a kernel that no maximum reaches."""
    softmaxes = Softmaxes(facts, Triton(facts))
    for found in softmaxes.without_maximum():
        exponential, division = found.exponential.node, found.division
        start = min(exponential.start_byte, division.start_byte)
        row = facts.source.row(division.start_byte) + 1
        yield Finding(
            rule="CUT001",
            span=Span(start, max(exponential.end_byte, division.end_byte)),
            message=(
                f"Softmax without its maximum: `{found.exponential.name}` overflows on large"
                f" values before the division on line {row}"
            ),
            captures={"softmax": found, "softmaxes": softmaxes},
        )
