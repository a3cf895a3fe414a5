"""Finds fused attention that is kept from its fast kernels, or told which by a deprecated interface.

## What it does

Reports every `torch.backends.cuda.sdp_kernel(…)`, which torch 2.3 deprecated,
`sdpa_kernel(SDPBackend.MATH)` with no other backend, and `enable_flash_sdp(False)`. The latter two
are left alone where something says what they are for: a comment beside or above, a condition, other
backends in the same file, second derivatives, determinism, export. So are all three in tests, and
behind a test of torch's version.

## Why is this bad

Impact: high; the limit is memory bandwidth. The math backend writes the scores of all heads, length
× length, to memory several times, where the others keep them on chip: 27 against 520 TFLOP/s on an
H200 at 4,096 tokens. Such a line is often the remains of a bug of an early torch. The deprecated
interface emits a `FutureWarning` at every call.

## Example

```python
import torch
import torch.nn.functional as F

def attend(q, k, v):
    with torch.backends.cuda.sdp_kernel(enable_flash=True, enable_math=False):
        return F.scaled_dot_product_attention(q, k, v)
```

## Use instead

```python
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]

def attend(q, k, v):
    with sdpa_kernel(BACKENDS):
        return F.scaled_dot_product_attention(q, k, v)
```

## Fix safety

Safe: the deprecated context manager becomes the current one with the same backends, those included
that were on by default. Not rewritten where an argument is no literal. Lifting a restriction is
advice: why it is there is not in sight.

## References

- [sdpa_kernel](https://pytorch.org/docs/stable/generated/torch.nn.attention.sdpa_kernel.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.attention_backends import pins
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span

MESSAGES = {
    "deprecated": (
        "`torch.backends.cuda.sdp_kernel` is deprecated and warns at every call; "
        "use `torch.nn.attention.sdpa_kernel`"
    ),
    "math": (
        "Attention is pinned to the math backend, which writes its scores to memory; "
        "let torch choose among the fused ones too"
    ),
    "flash off": (
        "Flash attention is turned off for the whole process; let torch choose, or say what for"
    ),
}


def check(facts: PythonFacts) -> Iterator[Finding]:
    for pin in pins(facts):
        span = Span(pin.call.start_byte, pin.call.end_byte)
        yield Finding("CUF017", span, MESSAGES[pin.kind], {"pin": pin})
