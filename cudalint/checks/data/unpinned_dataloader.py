"""Finds torch `DataLoader`s that feed CUDA from pageable memory.

## What it does

Reports a call of `torch.utils.data.DataLoader` with no `pin_memory`, or with `pin_memory=False`, in
a program that uses CUDA. A value that is only known at run time, `**kwargs` that may hold it, other
classes named `DataLoader`, datasets and collate functions of the file that return CUDA tensors
(pinning them raises), and loaders whose batches the file only reads on the CPU are left alone.

## Why is this bad

Bandwidth; impact: medium to high where batches are large. The GPU cannot read pageable memory: the
driver first copies each batch into a pinned buffer of its own, in pieces, on the host's thread,
which takes about twice as long and can never overlap with computing. With `pin_memory=True` a
thread of the loader prepares pinned batches ahead of time, and `.to(device, non_blocking=True)`
returns at once.

## Example

```python
loader = DataLoader(dataset, batch_size=256, shuffle=True, num_workers=8)
```

## Use instead

```python
loader = DataLoader(dataset, batch_size=256, shuffle=True, num_workers=8, pin_memory=True)
```

## Fix safety

Safe: batches hold the same numbers. Where the file can run without CUDA, or where only other files
of the package name it, `pin_memory=torch.cuda.is_available()` is written, so that a machine without
a GPU sees no warning; else `pin_memory=True`. Pinned memory cannot be swapped out: a program that is short of
host memory may want smaller batches or fewer workers.

## References

- [torch.utils.data: memory pinning](https://pytorch.org/docs/stable/data.html#memory-pinning)
- [A guide on good usage of non_blocking and pin_memory](https://pytorch.org/tutorials/intermediate/pinmem_nonblock.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Every torch DataLoader that is known not to pin what it feeds to CUDA."""
    if not facts.devices.evidence:
        return
    for call in facts.loaders.constructions:
        if facts.loaders.pin(call) != "unpinned" or not facts.loaders.feeds_cuda(call):
            continue
        given = facts.loaders.argument(call, "pin_memory")
        how = "without `pin_memory`" if given is None else f"with `pin_memory={facts.code(given)}`"
        yield Finding(
            rule="CUD001",
            span=Span(call.start_byte, call.end_byte),
            message=f"`DataLoader` {how} feeds CUDA from pageable memory: each copy waits",
            captures={"call": call, "value": given},
        )
