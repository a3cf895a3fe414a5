"""Finds copies of pinned batches to the device that wait although they need not.

## What it does

Reports `.to(device)` and `.cuda()` without `non_blocking=True` in a step loop, where what is copied
is known to be pinned: (part of) a batch of a `DataLoader` that this file pins, also by a dict of
keyword arguments, or `x.pin_memory()`. Sources not known to be pinned, CPU devices and modules are
left alone.

## Why is this bad

Bandwidth and synchronisation; impact: medium. Pinned memory can be copied by the GPU's copy engine
while kernels run. A blocking copy waits for the device all the same, every step, so that the price
of pinning is paid and nothing is gained.

## Example

```python
loader = DataLoader(dataset, batch_size=256, pin_memory=True)
for images, labels in loader:
    images, labels = images.to(device), labels.to(device)
```

## Use instead

```python
loader = DataLoader(dataset, batch_size=256, pin_memory=True)
for images, labels in loader:
    images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
```

## Fix safety

Safe: kernels of the same stream run after the copy, and torch's allocator keeps the pinned buffer
until the copy is done. Not rewritten where the source is changed in place later in the loop, which
would race with the copy, and where the batch is an object of a class whose `.to` may not take the
argument (a collate function from another file makes whole batches).

## References

- [A guide on good usage of non_blocking and pin_memory](https://pytorch.org/tutorials/intermediate/pinmem_nonblock.html)
- [torch.Tensor.to](https://pytorch.org/docs/stable/generated/torch.Tensor.to.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.devices import CPU
from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Every blocking copy of something pinned, in hot code."""
    if not facts.loops.any or not facts.devices.evidence:
        return
    for call in facts.calls("to", "cuda", where=facts.loops.may_run):
        function = call.children[0]
        if function.type != "attribute" or not _blocks(facts, call):
            continue
        source = function.children[0]
        reason = facts.loops.hot(call)
        if reason is None:
            continue
        value = facts.tensors.value(source)
        if not value.pinned or not value.is_tensor or value.device != CPU:
            continue
        collated = facts.loaders.collated(value)
        if collated == "own":
            continue
        yield Finding(
            rule="CUD004",
            span=Span(call.start_byte, call.end_byte),
            message=f"`{facts.code(source)}` is pinned, but its copy to the device "
            f"{facts.loops.describe(reason)} waits: `non_blocking=True` is missing",
            captures={
                "call": call,
                "source": source,
                "flag": _flag(facts, call),
                "collated_elsewhere": collated == "elsewhere",
            },
        )


def _flag(facts: PythonFacts, call: Node) -> Node | None:
    word = facts.code(call.children[0].children[-1])
    return facts.names.arguments(call).get("non_blocking", 1 if word == "cuda" else 2)


def _blocks(facts: PythonFacts, call: Node) -> bool:
    """A copy to a device that is not the CPU, and that is not told to be asynchronous."""
    if call.has_error:  # `async=True` of old programs is no Python any more
        return False
    given = facts.names.arguments(call)
    word = facts.code(call.children[0].children[-1])
    flag = _flag(facts, call)
    if given.open or "async" in given.keywords or (flag is not None and flag.type != "false"):
        return False
    if word == "cuda":
        return True
    target = given.get("device", 0)
    return target is not None and (facts.devices.of(target) or CPU) != CPU
