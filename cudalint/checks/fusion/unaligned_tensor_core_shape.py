"""Finds literal sizes of half-precision linear layers that tensor cores do not take as they are.

## What it does

Reports a number of at least 512 that is no multiple of 8 and that reaches a dimension of an `nn.Linear`,
directly, by a constant or a default, or by a field of a configuration (`vocab_size=50257`), in a file
that computes in half precision (autocast, `bfloat16`, `float16`, `.half()`). Left alone: smaller numbers
(the ten classes of a head cost nothing), computed sizes, float32.

## Why is this bad

Compute and alignment; impact: medium for a vocabulary, which is the largest product of small language
models. A row of an odd number of half-precision elements does not start at 16 bytes, so cuBLAS falls back
to kernels with narrow loads: padding nanoGPT's 50257 to 50304 made a training step about 25 % faster on
an A100.

## Example

```python
config = GPTConfig(vocab_size=50257, n_embd=768)
```

## Use instead

```python
config = GPTConfig(vocab_size=50304, n_embd=768)  # 50257, padded to a multiple of 64
```

## Fix safety

Advice: a padded vocabulary changes the shape of checkpoints, and the loss must never see the padded
classes as targets (it does not, where targets come from the tokenizer).

## References

- [Matrix multiplication background](https://docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication/index.html#requirements-tc)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.literal_dims import literal_dims
from cudalint.lazy import lazy_compile
from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts

MULTIPLE, LEAST, LARGE = 8, 512, 4096
HALF = lazy_compile(
    rb"\bautocast\b|\bbfloat16\b|\bfloat16\b|\.half\(\)|\bfp16\b|\bbf16\b|mixed_precision|16-mixed"
)


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Each such literal once."""
    if not HALF.search(facts.text) or not facts.devices.evidence:
        return
    seen: set[int] = set()
    for literal, value, layer in literal_dims(facts):
        if value < LEAST or value % MULTIPLE == 0 or literal.id in seen:
            continue
        seen.add(literal.id)
        step = 64 if value >= LARGE else MULTIPLE
        row = facts.source.row(layer.start_byte) + 1
        yield Finding(
            rule="CUF022",
            span=Span(literal.start_byte, literal.end_byte),
            message=f"{value} is no multiple of 8, so half-precision products of the layer on line {row} "
            f"miss the fast kernels; {-(-value // step) * step} is one",
            captures={},
        )
