"""Finds queries, keys and values that three linear layers make from one input.

## What it does

Reports the calls of three `nn.Linear` submodules, named as the projections of an attention are
(`q_proj`, `k_proj`, `v_proj`; `query`, `key`, `value`; `to_q`, `wq`, `W_q` …), on one and the same
input. Grouped-query attention, whose keys and values are narrower, is reported too. Left alone:
cross-attention, whose keys come from elsewhere, and layers that may be something else.

## Why is this bad

Launch and bandwidth; impact: low, in training of small models and in decoding medium. Three products
read the input three times, and the narrow ones fill only a part of the GPU. One product of the three
weights side by side reads it once, and the backward pass sums the input's gradient inside one product
instead of by two additions.

## Example

```python
q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
```

## Use instead

```python
q, k, v = self.qkv_proj(x).split((width, kv_width, kv_width), dim=-1)
```

## Fix safety

Advice: checkpoints hold three weights, adapters and sharding plans name them, and quantization scales
them one by one. A hook that concatenates them when a checkpoint is loaded is the usual way.

## References

- [Attention Is All You Need](https://arxiv.org/abs/1706.03762)
- [torch.nn.MultiheadAttention](https://pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html): `in_proj_weight`
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.candidates import functions
from cudalint.lazy import lazy_compile
from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.values import Value
    from cudalint.facts.python import PythonFacts

_NAMES = {
    part: lazy_compile(
        rf"^(?:to_|w_?|fc_?|lin(?:ear)?_?|proj_?)?{short}(?:_?(?:proj|lin|linear|layer|projection|net))?$"
        rf"|(?:^|_){long}(?:_|$)",
        re.IGNORECASE,
    )
    for part, short, long in (
        ("q", "q", "(?:query|queries)"),
        ("k", "k", "keys?"),
        ("v", "v", "values?"),
    )
}
WORDS = tuple(lazy_compile(rb"self\.\w*(?i:%s)\w*\(" % part) for part in (rb"q", rb"k", rb"v"))


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Each triple of projections of one input, once a function."""
    for function in functions(facts, *((word,) for word in WORDS)):
        graph = facts.graphs.of(function)
        by_input: dict[int, dict[str, Value]] = {}
        for value in graph.of("linear"):
            part = _part(value)
            if part and value.body == function and value.node is not None:
                by_input.setdefault(value.operands[0].id, {}).setdefault(part, value)
        for parts in by_input.values():
            if len(parts) == 3:
                yield _finding(facts, [value.node for value in parts.values() if value.node])


def _part(value: Value) -> str:
    name = str(value.attrs[0]).rpartition(".")[2]
    return next((part for part, pattern in _NAMES.items() if pattern.search(name)), "")


def _finding(facts: PythonFacts, calls: list[Node]) -> Finding:
    calls.sort(key=lambda node: node.start_byte)
    names = ", ".join(f"`{facts.code(call.children[0])}`" for call in calls)
    return Finding(
        rule="CUF013",
        span=Span(calls[0].start_byte, calls[-1].end_byte),
        message=f"{names} read one input in three products; one layer for all three reads it once",
        captures={},
    )
