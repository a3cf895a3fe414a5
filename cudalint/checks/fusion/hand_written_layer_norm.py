"""Finds layer norms that are written out operation by operation.

## What it does

Reports `(x - mean) / sqrt(var + eps)` over the last dimension, with or without a weight and a bias:
the variance by `var(unbiased=False)`, `var(correction=0)`, `var_mean`, the mean of the squared
differences, or the mean square less the squared mean.

Left alone: an unbiased variance (`var` and `std` without an argument), an epsilon outside of the
root, other dims than the last, and the hand-written side of a pair whose other side is fused.

## Why is this bad

Impact: medium; the limits are memory bandwidth and launches. Seven to nine kernels each read and
write the whole activation, and autograd keeps most of what they write. One kernel reads it once and
writes it once.

## Example

```python
def forward(self, x):
    mean = x.mean(-1, keepdim=True)
    var = x.var(-1, keepdim=True, unbiased=False)
    return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias
```

## Use instead

```python
from cudalint.kernels import layer_norm

def forward(self, x):
    return layer_norm(x, self.weight, self.bias, self.eps)
```

With `kernel-source = "torch"` the fix writes `F.layer_norm`. With `assume-compiled = true` the rule
is silent, because inductor fuses these operations by itself.

## Fix safety

Safe without a weight and a bias, and with both where the result is cast back to the dtype of the
input at the end, where the project asked for `cudalint.kernels` (`kernel-source` is set, or it is a
dependency). Unsafe otherwise: a parameter of another dtype than the input's widens the result of
the operations by hand, and not that of the function. Mean, variance and product are in fp32
whatever the input is, and rounded once. Not rewritten where an intermediate value is used
elsewhere, where the result stays in fp32, and where a parameter is seen to have several dims.

## References

- [Layer Normalization](https://arxiv.org/abs/1607.06450)
- [layer_norm](https://pytorch.org/docs/stable/generated/torch.nn.functional.layer_norm.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.candidates import ROOTS, aliases, functions
from cudalint.facts.graph.patterns.norms import layer_norms
from cudalint.facts.graph.patterns.outermost import norms_by_hand
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding

SPREAD = (b"var(", b"var_mean(", b"mean(", b"sum(")


def check(facts: PythonFacts) -> Iterator[Finding]:
    if facts.settings.assume_compiled:
        return
    roots = (*ROOTS, *aliases(facts, b"sqrt"))
    spreads = (*SPREAD, *aliases(facts, b"var_mean", b"var", b"mean"))
    for function in functions(facts, roots, spreads):
        for norm, span in norms_by_hand(facts, function, layer_norms):
            yield Finding("CUF005", span, _message(facts), {"norm": norm})


def _message(facts: PythonFacts) -> str:
    fused = "F.layer_norm" if facts.settings.kernel_source == "torch" else "layer_norm"
    return (
        "A layer norm by hand reads and writes the activation at every operation; "
        f"one `{fused}` call reads and writes it once"
    )
