"""Finds masks filled with a large finite number in place of the dtype's minimum.

## What it does

Reports `-1e9`, `-10000.0`, `float("-1e20")` and the like where they blot out masked places:
`masked_fill`, `torch.where`, `(1.0 - mask) * -10000.0`, `scores[mask] = -1e9`, and tensors of such a
number that are cut to a triangle, named a mask, or chosen by one. The number may arrive through a
name, an attribute or a buffer.

Silent on what only looks alike: clipping, initial minima (`torch.full((batch,), -1e9)` before a
running maximum), padding ids, and a number that a test on the dtype has chosen.

## Why is this bad

Impact: medium, on correctness. float16 ends at -65504: `-1e9` raises or becomes `-inf`, and a row
whose places are all masked is NaN. `-10000.0` fits and leaks: a masked place is only that much
below the others, and two masks added together, or large scores in low precision, let it through.

## Example

```python
scores = scores.masked_fill(mask == 0, -1e9)
```

## Use instead

```python
scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
```

## Fix safety

Unsafe: results differ in the last digits where the old number leaked, code further on may compare
with the old number, and masks that are added to each other may overflow to `-inf`. `float("-inf")`
is written only for a square causal mask that no other mask joins, because there every row keeps an
entry. Not rewritten: tensors known to be float32, where the number fits, and tensors whose dtype is
not in sight.

## References

- [torch.finfo](https://pytorch.org/docs/stable/type_info.html#torch.torch.finfo)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.fills import Fill, fills
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Every mask that is filled with a large finite number."""
    if b"import torch" not in facts.text and b"from torch" not in facts.text:
        return
    for fill in fills(facts):
        yield Finding(
            rule="CUN001",
            span=Span(fill.operation.start_byte, fill.operation.end_byte),
            message=_message(fill, facts),
            captures={"fill": fill},
        )


def _message(fill: Fill, facts: PythonFacts) -> str:
    written = facts.code(fill.constant)
    name = f"`{written}`" if len(written) <= 40 else f"`{fill.value:g}`"
    if abs(fill.value) > 65504:
        return f"Masked with {name}, which float16 cannot hold; use `torch.finfo(dtype).min`"
    return f"Masked with {name}, which large scores reach; use `torch.finfo(dtype).min`"
