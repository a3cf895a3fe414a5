"""Finds attention for Hopper and newer GPUs whose backend nobody ever chose.

## What it does

Reports the first `scaled_dot_product_attention` of code that runs every step, where a target GPU is
Hopper or newer (`target-gpus`) and the file neither chooses a backend (`sdpa_kernel`, `SDPBackend`,
`flash_attn`, `flex_attention` …) nor measures any. Once a file. Left alone: libraries, because the
program that uses them chooses, and calls with a mask or bias, which few backends take.

## Why is this bad

Compute; impact: medium to high where attention dominates. On these GPUs torch has several fused backends
that are far apart, and its order of preference is fixed: on an H200 in bfloat16 (4×16×4096×128, causal)
cuDNN's forward reaches 520 TFLOP/s, flash 304 and memory-efficient 160. Which one wins changes with
head dimension, length, mask and version.

## Example

```python
y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
```

## Use instead

```python
from torch.nn.attention import SDPBackend, sdpa_kernel

for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
    with sdpa_kernel(backend):
        print(backend, benchmark(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)))

# and then, in the order that they were found to be fast:
with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
```

## Fix safety

Advice: only a measurement on the shapes of the program can say which backend to prefer.

## References

- [torch.nn.attention.sdpa_kernel](https://pytorch.org/docs/stable/generated/torch.nn.attention.sdpa_kernel.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.references import references
from cudalint.lazy import lazy_compile
from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

HOPPER = 90
SDPA = {"torch.nn.functional.scaled_dot_product_attention"}
CHOSEN = lazy_compile(
    rb"sdpa_kernel|sdp_kernel|SDPBackend|enable_\w*sdp|flash_attn|flash_attention|flex_attention|xformers"
    rb"|transformer_engine|cudalint|do_bench|utils\.benchmark|attn_implementation|sageattn|varlen"
)


def check(facts: PythonFacts) -> Iterator[Finding]:
    """The first call of the file that runs every step."""
    if max(facts.settings.architectures) < HOPPER or CHOSEN.search(facts.text):
        return
    if facts.package.is_library:
        return
    for reference in references(facts, SDPA):
        call = reference.holder
        if reference.role != "call" or call is None or facts.loops.hot(call) is None:
            continue
        if _is_masked(facts, call):
            continue
        yield Finding(
            rule="CUF023",
            span=Span(call.start_byte, call.end_byte),
            message="Nothing compares attention backends: time `sdpa_kernel(SDPBackend.CUDNN_ATTENTION)` "
            "and `FLASH_ATTENTION` on these shapes, which can differ twofold on Hopper and newer",
            captures={},
        )
        return


def _is_masked(facts: PythonFacts, call: Node) -> bool:
    mask = facts.names.arguments(call).get("attn_mask", 3)
    return mask is not None and mask.type != "none"
