"""Finds `.item()` of a device tensor in code that runs every step.

## What it does

Reports `tensor.item()` in the body of a training, evaluation or decoding loop, in a method that a
framework calls once a step (`training_step`, `compute_loss`, the `forward` of a module), and in
functions of the file that are called from there. Reads that a condition makes rare (`if step % 100
== 0`, the last step, an `except` block), reads after the loop, and values that are known to be on
the CPU are left alone.

## Why is this bad

Synchronisation; impact: high for small models, medium else. Kernels are launched ahead of the GPU;
`.item()` makes the host wait until everything that was launched has run, and copies one number.
The GPU then idles while the host prepares the next step. One read a step is enough to lose all of
the overlap between the two.

## Example

```python
total = 0.0
for images, labels in loader:
    loss = step(images, labels)
    total += loss.item()
print(total / len(loader))
```

## Use instead

```python
total = 0.0
for images, labels in loader:
    loss = step(images, labels)
    total += loss.detach()
total = float(total)
print(total / len(loader))
```

## Fix safety

Unsafe. The sum is then kept on the device in the dtype of its terms (float32 in most programs),
where Python's floats are double: a long sum loses digits, about one in 10^7 a step. Where the file
names a half dtype the terms are widened to float32 first. A sum is rewritten where its first
value is a number, nothing else reads or changes it in hot code, and one read after the loop gives
all later code the number that it had before; a list to which the loop only appends is read once
the same way, with the very same numbers; a number that is only looked at in throttled code is
read there. Everything else (a progress bar, a meter, a comparison, a returned value) needs the
number every step and is left as it is: what to log, and how often, is the author's choice.

## References

- [PyTorch performance tuning guide: avoid unnecessary CPU-GPU synchronization](https://pytorch.org/tutorials/recipes/recipes/tuning_guide.html#avoid-unnecessary-cpu-gpu-synchronization)
- [torch.Tensor.item](https://pytorch.org/docs/stable/generated/torch.Tensor.item.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Every `.item()` of a tensor that may be on the device, in hot code."""
    if not facts.loops.any or not facts.devices.evidence:
        return
    for call in facts.calls("item", where=facts.loops.may_run):
        function = call.children[0]
        if function.type != "attribute" or facts.names.arguments(call).positional:
            continue
        reason = facts.loops.hot(call)
        if reason is None:
            continue
        operand = function.children[0]
        if not facts.tensors.value(operand).is_on_device:
            continue
        where = facts.loops.describe(reason)
        yield Finding(
            rule="CUS001",
            span=Span(call.start_byte, call.end_byte),
            message=f"`.item()` {where} makes the host wait for the GPU",
            captures={"read": call, "operand": operand, "reason": reason},
        )
