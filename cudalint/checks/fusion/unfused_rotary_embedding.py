"""Finds rotary position embeddings that are applied operation by operation.

## What it does

Reports the rotation of a tensor's pairs by tables of cosines and sines: `x * cos + rotate_half(x) *
sin` with the rotation written there or in a helper of the file, half by half, over neighbours
(`x[..., ::2]`), and as a product of complex numbers; of all numbers of the last dim or the first of
them, and with the opposite sign. Query and key that are turned alike, side by side, are one
finding. The place is where the operations stand, such as the body of `apply_rotary_pos_emb`.

Left alone: rotations by one angle, helpers of other files, products with complex filters, functions
that are compiled, and the hand-written side of a pair whose other side is fused.

## Why is this bad

Impact: medium; the limits are memory bandwidth and launches. Slices, a negation, a concatenation,
two products and a sum each read and write the whole query, and then the whole key, in every layer.
One kernel reads and writes both once: 3.8 instead of under 1 TB/s on an H200.

## Example

```python
def apply_rotary_pos_emb(q, k, cos, sin):
    q_embed = q * cos + rotate_half(q) * sin
    k_embed = k * cos + rotate_half(k) * sin
    return q_embed, k_embed
```

## Use instead

```python
from cudalint.kernels import apply_rope

def apply_rotary_pos_emb(q, k, cos, sin):
    q_embed, k_embed = apply_rope(q, k, cos, sin)
    return q_embed, k_embed
```

A single tensor becomes `rope(x, cos, sin)`. The functions themselves stay, and so do helpers. torch
has no such function: with `kernel-source = "torch"` the rule only advises. With
`assume-compiled = true` it is silent, because inductor fuses these operations by itself.

## Fix safety

Safe where the result is cast back, or the cosines are cast to the tensor's dtype in the file, and
where the project asked for `cudalint.kernels` (`kernel-source` is set, or it is a dependency).
Unsafe otherwise: the dtype of the tables then decides that of the result, which is not in sight.
Products are in float32 and rounded once. Cosines and sines are taken to have one shape, as wide as
what they turn; `flatten(3)` and `cat(…, 3)` to be of the last dim. Not rewritten: halves that may be of two lengths, pairs that
are taken as neighbours and put back as halves, and an intermediate value that is used elsewhere.

## References

- [RoFormer](https://arxiv.org/abs/2104.09864)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.candidates import functions, helpers
from cudalint.facts.graph.patterns.deliberate import (
    FUSED_ROPE,
    is_autograd_helper,
    is_compiled,
    is_deliberate,
)
from cudalint.facts.graph.patterns.rotary_pairs import Rotation, rotations
from cudalint.facts.graph.patterns.spans import span_of
from cudalint.facts.python import PythonFacts
from cudalint.facts.words import Word
from cudalint.lazy import lazy_compile
from cudalint.model import Finding
from cudalint.registry import COSINE, FLATTENED, SINE

if TYPE_CHECKING:
    from tree_sitter import Node

TURNED = (b"as_complex",)  # and put back by what makes pairs one dim
JOIN: tuple[Word, ...] = (b"cat(", b"concat", b"stack(", b"as_real")
WRITE = (b"empty_like(", b"zeros_like(")
# One half of a pair is negated or taken off; the tables, which hold the same words, have none of it.
MINUS: tuple[Word, ...] = (lazy_compile(rb"[(\[,=*]\s*-\s*[A-Za-z_(]"), b" - ", b"neg(", b"sub(")
PRODUCT = (b"*", b".mul", b"multiply")


def check(facts: PythonFacts) -> Iterator[Finding]:
    if facts.settings.assume_compiled:
        return
    rotate = helpers(facts, JOIN, without=(b"cos", *TURNED))
    minus = (*MINUS, *TURNED, *rotate)
    cos, sin = (COSINE, *TURNED), (SINE, *TURNED)
    for function in functions(facts, cos, sin, (*JOIN, *WRITE, *rotate), PRODUCT, minus):
        if not _may_turn(facts, function):
            continue
        for found in rotations(facts, facts.graphs.of(function)):
            span = span_of(found.result, found.consumed, function)
            if span is not None and not _is_wanted(facts, found, function):
                yield Finding(
                    "CUF009", span, _message(found), {"rotation": found, "function": function}
                )


def _may_turn(facts: PythonFacts, function: Node) -> bool:
    """Whether a function has cosines and sines, or flattens pairs that were complex numbers."""
    here = function.start_byte, function.end_byte
    return all(facts.holds((word,), *here) for word in (COSINE, SINE)) or facts.holds(
        FLATTENED, *here
    )


def _is_wanted(facts: PythonFacts, found: Rotation, function: Node) -> bool:
    """Whether the code is by hand for a reason, or fused by other means."""
    node = found.result.node
    if node is None or is_autograd_helper(facts, function) or is_compiled(facts, function):
        return True
    return is_deliberate(facts, node, FUSED_ROPE)


def _message(found: Rotation) -> str:
    if len(found.turns) > 1:
        return (
            "A rotary embedding by hand reads and writes query and key at every operation; "
            "one `apply_rope` call turns both"
        )
    return (
        "A rotary embedding by hand reads and writes the tensor at every operation; "
        "one `rope` call reads and writes it once"
    )
