"""Finds log-probabilities and cross-entropies that are computed in more steps than one.

## What it does

Reports the logarithm of a softmax; `nll_loss` of a `log_softmax` that nothing else reads; one-hot
classes times log-probabilities, summed to a loss; and logits that are cast to float32 for a
cross-entropy alone, where they have two dims. Losses may be functions, local modules or
`self.criterion`. Log-probabilities that are returned or used elsewhere are needed and left alone,
and so are likelihoods of other dims.

## Why is this bad

Impact: high for language models; the limit is memory bandwidth, and memory. Each step writes and
reads a tensor of rows × classes: with 128,256 classes and 8,192 rows one float32 copy is 4 GB, and
it is kept for the backward pass. The logarithm of a softmax is inexact as well: a probability that
is too small for its dtype becomes zero and its logarithm minus infinity.

## Example

```python
import torch
import torch.nn.functional as F

def loss(logits, labels):
    return F.nll_loss(torch.log(torch.softmax(logits, dim=1)), labels)
```

## Use instead

```python
def loss(logits, labels):
    return F.cross_entropy(logits, labels)
```

With logits in half precision, `cudalint.kernels.cross_entropy(logits, labels)` takes the place of
`F.cross_entropy(logits.float(), labels)`: it computes in float32 and makes no copy.

## Fix safety

Safe where torch's function or, on request, that of `cudalint.kernels` computes the same up to
rounding; unsafe where a `nn.Softmax` or loss module is no longer called, and where the import of
`cudalint.kernels` is a new dependency. The dtype of the loss stays what it was. Not rewritten: an
epsilon in the logarithm, probabilities that are used elsewhere, classes in a dim that is not in
sight. With `kernel-source = "torch"` copies to float32 are not reported: torch has no function
that does without.

## References

- [log_softmax](https://pytorch.org/docs/stable/generated/torch.nn.functional.log_softmax.html)
- [cross_entropy](https://pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.candidates import aliases, attributes, functions
from cudalint.facts.graph.patterns.deliberate import is_autograd_function
from cudalint.facts.graph.patterns.lm_heads import heads
from cudalint.facts.graph.patterns.log_softmaxes import Found, found_in
from cudalint.facts.graph.patterns.losses import ENTROPY
from cudalint.facts.graph.patterns.spans import span_of
from cudalint.facts.guards import is_guarded
from cudalint.facts.python import PythonFacts
from cudalint.facts.words import Word
from cudalint.model import Finding
from cudalint.registry import ENTROPY as ENTROPY_NAMES
from cudalint.registry import LIKELIHOOD, WIDE

if TYPE_CHECKING:
    from tree_sitter import Node

MESSAGES = {
    "log": (
        "The logarithm of a softmax makes the probabilities in memory, and is minus infinity where "
        "they are too small; `log_softmax` does neither"
    ),
    "nll": (
        "The log-probabilities of all classes are written for this loss alone; "
        "`cross_entropy` takes the logits"
    ),
    "one-hot": (
        "One-hot classes and their products are as large as the logits; `cross_entropy` takes the "
        "classes as they are"
    ),
    "copy": (
        "The logits are copied to float32 for this loss alone; `cudalint.kernels.cross_entropy` "
        "reads them as they are and computes in float32"
    ),
}


def check(facts: PythonFacts) -> Iterator[Finding]:
    for function in _candidates(facts):
        if is_autograd_function(facts, function):
            continue
        graph = facts.graphs.of(function)
        projected = {head.loss.value.id for head in heads(facts, graph)}  # CUF011 has more to say
        for found in found_in(facts, graph):
            span = span_of(found.result, found.consumed, function)
            if span is None or found.result.id in projected or not _is_wanted(facts, found):
                continue
            yield Finding("CUF010", span, MESSAGES[found.form], {"found": found})


def _candidates(facts: PythonFacts) -> list[Node]:
    """The functions with a softmax and a logarithm or likelihood, or with a loss and a cast."""
    soft = (b"oftmax(", *aliases(facts, b"oftmax"), *attributes(facts, b"oftmax"))
    logs: tuple[Word, ...] = (
        *LIKELIHOOD,
        *aliases(facts, b"log"),
        *attributes(facts, b"NLLLoss"),
    )
    losses = (*ENTROPY, *aliases(facts, *ENTROPY_NAMES), *attributes(facts, b"CrossEntropyLoss"))
    chosen = {node.id: node for node in functions(facts, soft, logs)}
    if facts.settings.kernel_source != "torch":
        chosen.update({node.id: node for node in functions(facts, losses, WIDE)})
    return sorted(chosen.values(), key=lambda node: node.start_byte)


def _is_wanted(facts: PythonFacts, found: Found) -> bool:
    if found.form == "copy" and facts.settings.kernel_source == "torch":
        return False
    return found.result.node is not None and not is_guarded(facts, found.result.node)
