"""Finds root-mean-square norms that are written out operation by operation.

## What it does

Reports `x * rsqrt(mean(x²) + eps)` over the last dimension, with or without a weight, in every
order of casts: the one of Llama (normalise in fp32, round, multiply), the late one (multiply in
fp32, round once), Gemma's `1 + weight`, T5's, and without any cast.

Left alone: an epsilon outside of the root, a standard deviation, a mean taken off before, other
dims than the last, `F.normalize(x) * sqrt(d)`, and the hand-written side of a pair whose other side
is fused.

## Why is this bad

Impact: medium; the limits are memory bandwidth and launches. Six to eight kernels each read and
write the whole activation, in fp32 where there is an upcast, and a model calls its norm twice a
layer. One kernel reads it once and writes it once: 3.6 instead of 0.7 TB/s on an H200 for forward
and backward.

## Example

```python
def forward(self, x):
    dtype = x.dtype
    x = x.to(torch.float32)
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
    return self.weight * x.to(dtype)
```

## Use instead

```python
from cudalint.kernels import rms_norm

def forward(self, x):
    return rms_norm(x, self.weight, self.eps)
```

With `kernel-source = "torch"` the fix writes `F.rms_norm`, with the same casts. With
`assume-compiled = true` the rule is silent, because inductor fuses these operations by itself.

## Fix safety

Safe in the Llama, T5 and late orders where the project asked for `cudalint.kernels`
(`kernel-source` is set, or it is a dependency): the cast order is kept. Unsafe otherwise, and for
forms without any upcast, which half-precision inputs would compute in half precision. Not
rewritten where an intermediate value is used elsewhere or the result keeps another dtype.

## References

- [Root Mean Square Layer Normalization](https://arxiv.org/abs/1910.07467)
- [rms_norm](https://pytorch.org/docs/stable/generated/torch.nn.functional.rms_norm.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.candidates import ROOTS, aliases, functions
from cudalint.facts.graph.patterns.norms import rms_norms
from cudalint.facts.graph.patterns.outermost import norms_by_hand
from cudalint.facts.python import PythonFacts
from cudalint.lazy import lazy_compile
from cudalint.model import Finding

MEAN = (b"mean(", b"sum(")
SQUARE = lazy_compile(rb"pow|\*\*|square|\b(\w+) ?\* ?\1\b")


def check(facts: PythonFacts) -> Iterator[Finding]:
    if facts.settings.assume_compiled:
        return
    roots = (*ROOTS, *aliases(facts, b"sqrt"))
    for function in functions(facts, roots, MEAN, lambdas=True):
        if SQUARE.search(facts.text, function.start_byte, function.end_byte):
            for norm, span in norms_by_hand(facts, function, rms_norms):
                yield Finding("CUF004", span, _message(facts), {"norm": norm})


def _message(facts: PythonFacts) -> str:
    fused = "F.rms_norm" if facts.settings.kernel_source == "torch" else "rms_norm"
    return (
        "A root-mean-square norm by hand reads and writes the activation at every operation; "
        f"one `{fused}` call reads and writes it once"
    )
