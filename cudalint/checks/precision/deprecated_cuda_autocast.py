"""Finds `torch.cuda.amp.autocast`, `torch.cpu.amp.autocast` and their `custom_fwd`/`custom_bwd`.

## What it does

Reports every use of the autocast interfaces that torch 2.4 deprecated in favour of the ones that
take the device: context managers, decorators, `functools.partial`, aliases, and imports whose
name the file does not use itself. A file that picks the old interface for an old torch (a version
test, `hasattr`, `try`/`except ImportError`) is left alone.

## Why is this bad

Impact: low. Each construction emits a `FutureWarning`, in hot code once a step, and the interface
is scheduled to go: the program then stops working on a torch upgrade. `torch.amp.autocast` is the
same context manager with the device spelled out.

## Example

```python
from torch.cuda.amp import autocast

with autocast(args.amp):
    loss = model(images)
```

## Use instead

```python
with torch.amp.autocast("cuda", enabled=args.amp):
    loss = model(images)
```

## Fix safety

Safe: the same context manager with the same arguments. The old interface always means float16 on
CUDA and bfloat16 on the CPU, the new one means the dtype that is current where it is built, so the
dtype is written out where the file also names another one. Not rewritten: objects that are passed
on as values, subclasses, and calls with `*args`, because how they are called is not in sight.

## References

- [torch.amp](https://pytorch.org/docs/stable/amp.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.python import PythonFacts
from cudalint.facts.references import references
from cudalint.model import Finding, Span

INSTEAD = {
    "torch.cuda.amp.autocast": 'torch.amp.autocast("cuda", …)',
    "torch.cpu.amp.autocast": 'torch.amp.autocast("cpu", …)',
    "torch.cuda.amp.custom_fwd": 'torch.amp.custom_fwd(device_type="cuda")',
    "torch.cuda.amp.custom_bwd": 'torch.amp.custom_bwd(device_type="cuda")',
}


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Every mention of a deprecated autocast interface."""
    for reference in references(facts, INSTEAD):
        whole = reference.holder if reference.role in ("call", "import") else None
        whole = whole or reference.node
        yield Finding(
            rule="CUP002",
            span=Span(whole.start_byte, whole.end_byte),
            message=f"`{reference.path}` is deprecated; use `{INSTEAD[reference.path]}`",
            captures={"reference": reference},
        )
