"""Finds convolutions with a bias that the batch norm behind them takes off again.

## What it does

Reports `nn.Conv1d`, `2d`, `3d` and their transposed forms whose bias is on (the default) where a
`BatchNorm` follows directly: as the next entry of an `nn.Sequential`, of the list or `OrderedDict` that
it is made from, or in `forward` (`self.bn1(self.conv1(x))`). Left alone: a `bias` that is a variable,
`**kwargs` that are not in sight, a convolution whose output anything else uses, a norm that is
optional, chosen by a variable or put into eval mode while the rest trains, and sequences that the
file takes apart.

## Why is this bad

Memory bandwidth; impact: low. The norm subtracts the mean of every channel, and the bias with it: it
never changes the output. It still costs a kernel or an epilogue that adds it, a reduction over all
pixels for its gradient, and its share of every optimizer step.

## Example

```python
self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
self.bn1 = nn.BatchNorm2d(64)
```

## Use instead

```python
self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
self.bn1 = nn.BatchNorm2d(64)
```

## Fix safety

Unsafe: checkpoints of the model hold the bias, and loading them needs `strict=False` (a network that
was trained with it must subtract it from the running mean); and with one draw of random numbers less,
a seed gives other initial weights. Not rewritten where the file itself loads pretrained weights, or
initialises biases without asking whether there is one.

## References

- [Batch Normalization](https://arxiv.org/abs/1502.03167), section 3.2
- [Performance tuning guide](https://pytorch.org/tutorials/recipes/recipes/tuning_guide.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.conv_norms import pairs
from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

BIAS = 7  # its position, of transposed convolutions too


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Every such convolution whose bias is certainly on."""
    for conv, norm in pairs(facts):
        given = facts.names.arguments(conv)
        bias = given.get("bias", BIAS)
        if given.open or (bias is not None and not _is_on(facts, bias)):
            continue
        name = facts.code(conv.children[0]).rpartition(".")[2]
        kind = facts.code(norm.children[0]).rpartition(".")[2]
        row = facts.source.row(norm.start_byte) + 1
        yield Finding(
            rule="CUF020",
            span=Span(conv.start_byte, conv.end_byte),
            message=f"The bias of `{name}` is taken off again by the `{kind}` on line {row}",
            captures={"call": conv, "bias": bias},
        )


def _is_on(facts: PythonFacts, bias: Node) -> bool:
    return facts.code(bias) == "True"
