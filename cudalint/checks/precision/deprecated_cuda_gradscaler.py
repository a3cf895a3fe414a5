"""Finds `torch.cuda.amp.GradScaler`, which torch 2.4 deprecated.

## What it does

Reports every use of the CUDA-only gradient scaler: constructions, subclasses, `isinstance` tests,
annotations, and imports whose name the file does not use itself. A file that picks the old class
for an old torch (a version test, `hasattr`, `try`/`except ImportError`) is left alone.

## Why is this bad

Impact: low. The construction emits a `FutureWarning` and the class is scheduled to go: the program
then stops working on a torch upgrade. `torch.amp.GradScaler` is its base class, with the device as
first argument.

## Example

```python
scaler = torch.cuda.amp.GradScaler(enabled=args.amp)
```

## Use instead

```python
scaler = torch.amp.GradScaler("cuda", enabled=args.amp)
```

## Fix safety

Safe: the same scaler with the same arguments and the same state dict; the old class is a subclass
of the new one, so tests and annotations by the new name accept both. Not rewritten: a class that
is passed on as a value, and subclasses whose constructor arguments would move by one.

## References

- [torch.amp](https://pytorch.org/docs/stable/amp.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.python import PythonFacts
from cudalint.facts.references import references
from cudalint.model import Finding, Span

OLD = "torch.cuda.amp.GradScaler"


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Every mention of the deprecated scaler."""
    for reference in references(facts, {OLD}):
        whole = reference.holder if reference.role in ("call", "import") else None
        whole = whole or reference.node
        instead = 'torch.amp.GradScaler("cuda", …)' if reference.role == "call" else OLD
        instead = instead.replace("torch.cuda.amp", "torch.amp")
        yield Finding(
            rule="CUP003",
            span=Span(whole.start_byte, whole.end_byte),
            message=f"`{OLD}` is deprecated; use `{instead}`",
            captures={"reference": reference},
        )
