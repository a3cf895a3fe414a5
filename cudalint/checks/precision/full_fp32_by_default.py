"""Finds CUDA programs that train or infer in full float32 because nothing else was chosen.

## What it does

Reports the first step of an entry point (a file with `if __name__ == "__main__"`, or one whose
module level builds the model and runs the step) that moves its work to CUDA and nowhere names
autocast, a half-precision model or dtype, or a choice for float32 matrix products. Once a file.

Silent on library modules, which must not choose for the process; on files that only define; on an
explicit `"highest"`, TF32 switched off, or double precision; on a Trainer, an Accelerator or an
option with a precision; and on tests.

## Why is this bad

Impact: high. Matrix products in full float32 do not use the tensor cores: 67 TFLOP/s on an H100
where TF32 gives 495 and bfloat16 990, and weights, activations and their traffic take twice the
memory of a half format. Networks train as well with TF32 products, and nearly all of them under
bfloat16 autocast.

## Example

```python
for images, labels in loader:
    loss = criterion(model(images.cuda()), labels.cuda())
    loss.backward()
    optimizer.step()
```

## Use instead

```python
torch.set_float32_matmul_precision("high")
```

or, with `precision-policy = "bf16"`,

```python
with torch.amp.autocast("cuda", dtype=torch.bfloat16):
    loss = criterion(model(images.cuda()), labels.cuda())
loss.backward()
```

## Fix safety

Unsafe: products keep 10 bits of mantissa (bfloat16: 7) instead of 23. Training curves rarely show
it; solvers, physics and comparisons against references may. Where the step computes such things,
write `torch.set_float32_matmul_precision("highest")`, which is a choice and is not reported.

## References

- [torch.set_float32_matmul_precision](https://pytorch.org/docs/stable/generated/torch.set_float32_matmul_precision.html)
- [torch.amp](https://pytorch.org/docs/stable/amp.html)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.program_steps import Step
from cudalint.facts.programs import Programs
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span


def check(facts: PythonFacts) -> Iterator[Finding]:
    """The first step of an entry point in which nobody chose a precision."""
    programs = Programs(facts)
    if programs.is_test or not programs.may_run or programs.precision.chosen is not None:
        return
    if not programs.uses_cuda:
        return
    step = None if programs.has_framework else programs.step
    if step is None:
        return
    yield Finding(
        rule="CUP001",
        span=Span(step.first.start_byte, max(step.first.end_byte, step.last.end_byte)),
        message=_message(step, facts),
        captures={"step": step, "programs": programs},
    )


def _message(step: Step, facts: PythonFacts) -> str:
    work = "Trains" if step.kind == "training" else "Infers"
    related = ""
    if step.backward is not None:
        row = facts.source.row(step.backward.start_byte) + 1
        related = f" (backward on line {row})"
    return (
        f"{work} in full float32 by default{related}: no autocast, no half-precision weights,"
        ' and no `torch.set_float32_matmul_precision("high")`'
    )
