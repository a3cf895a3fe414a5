"""Finds the sum of a residual connection followed by a norm of it, where both are kept.

## What it does

Reports `h = x + f(x)` and a norm of `h` in one function, where `h` is used again: `nn.LayerNorm`,
`nn.RMSNorm`, `F.layer_norm`, `F.rms_norm`, this package's norms, norms that are classes of the
file, as language models bring their own, and those that a constructor takes by default. That a sum
is a residual connection is told by one operand being computed from the other, or by a name such as
`residual` or `shortcut`.

Left alone: a sum that only the norm needs (post-norm), a norm under a condition, position embeddings
and biases, norms by hand until they are calls, and norms with a scale and a shift, which are another
rule's.

## Why is this bad

Impact: medium; the limits are memory bandwidth and launches. The sum writes the activation that the
norm reads again at once. One kernel adds, keeps the sum and normalises what it holds on chip: it
moves four activations instead of five, in one launch instead of two, twice a layer.

## Example

```python
def forward(self, x):
    x = x + self.attn(self.ln_1(x))
    x = x + self.mlp(self.ln_2(x))
    return x
```

## Use instead

```python
from cudalint.kernels import add_layer_norm

def forward(self, x):
    ln_2 = self.ln_2
    normed, x = add_layer_norm(self.attn(self.ln_1(x)), x, ln_2.weight, ln_2.bias, ln_2.eps)
    x = x + self.mlp(normed)
    return x
```

torch has no such function: with `kernel-source = "torch"` the rule only reports. With
`assume-compiled = true` it is silent, because inductor fuses these operations by itself.

## Fix safety

Unsafe: that both operands have one shape is usual and not seen, parameters are read from the
submodule, and hooks on it no longer run. Not rewritten where the sum is not a statement of its own,
where a tensor that others may see is added to in place, where the sum itself is changed in place
later (the backward keeps it), and where the norm's class is not of the file or an argument with
a default (`norm_layer=nn.LayerNorm`).

## References

- [Root Mean Square Layer Normalization](https://arxiv.org/abs/1910.07467)
- [On Layer Normalization in the Transformer Architecture](https://arxiv.org/abs/2002.04745)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

from cudalint.facts.graph.patterns.candidates import functions
from cudalint.facts.graph.patterns.outermost import is_wanted, norm_attributes
from cudalint.facts.graph.patterns.residuals import ResidualNorm, nodes_of, residual_norms
from cudalint.facts.python import PythonFacts
from cudalint.lazy import lazy_compile
from cudalint.model import Finding, Span

# A row that gives a name a sum, or what goes on in the next row.
SUM = lazy_compile(rb"^[ \t]+\w+ ?(?:\+=|=[^=\n][^\n]*(?:\+|add\(|\($))", re.MULTILINE)
WORDS = (b"norm(", b"Norm(")


def check(facts: PythonFacts) -> Iterator[Finding]:
    if facts.settings.assume_compiled:
        return
    words = (*WORDS, *norm_attributes(facts))
    follows = partial(_follows, facts.text, words)
    for function in functions(facts, words, (SUM,), where=follows):
        for found in residual_norms(facts, facts.graphs.of(function)):
            added, normed = nodes_of(found)
            if is_wanted(facts, added, function):
                continue
            start, end = min(added.start_byte, normed.start_byte), normed.end_byte
            captures = {"found": found, "function": function}
            yield Finding("CUF006", Span(start, end), _message(facts, found), captures)


def _follows(text: bytes, words: Iterable[bytes], start: int, end: int) -> bool:
    """Whether a norm's word stands behind a sum: only then is a graph worth making."""
    first = SUM.search(text, start, end)
    return first is not None and any(text.find(w, first.start(), end) >= 0 for w in words)


def _message(facts: PythonFacts, found: ResidualNorm) -> str:
    fused = "add_layer_norm" if found.norm.kind == "layer" else "add_rms_norm"
    line = facts.source.row(nodes_of(found)[1].start_byte) + 1
    return (
        f"This sum is written, and read again by the norm in line {line}; one "
        f"`{fused}` call does both and keeps the sum"
    )
