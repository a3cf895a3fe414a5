"""Finds optimizers of CUDA parameters that were not asked for their fused form.

## What it does

Reports `torch.optim.Adam`, `AdamW` and `SGD` without `fused` or `foreach` in a program that uses
CUDA. Left alone: a choice (`fused=`, `foreach=`, also `False`), `capturable` and `differentiable`,
`**kwargs` that are not in sight, subclasses, parameters that the file makes on the CPU and never
moves, a step that is handed to `torch.compile`, and tests.

`Adagrad` is fused on CUDA only from torch 2.12 on, and is left alone; the other optimizers of torch
have no fused form.

## Why is this bad

Launch and memory bandwidth; impact: medium. By default torch takes the `foreach` form: a dozen
passes over the parameters, gradients and states, each a launch that reads and writes lists of
tensors, with temporaries as large as the parameters. The fused form updates everything in one pass:
two to four times faster for a model of many small layers, and without the temporaries.

## Example

```python
model = Net().cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
```

## Use instead

```python
model = Net().cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
```

## Fix safety

Safe: the same update, up to the rounding of the dtype, also with a `GradScaler`, several parameter
groups and closures. A program that falls back to the CPU keeps working: these forms run there too
(torch 2.4 and newer). State loaded from a checkpoint brings its own choice with it. Unsafe under
Lightning, which refuses to clip the gradients of a fused optimizer in `16-mixed` precision. Not rewritten
where gradients may be sparse (`nn.Embedding(sparse=True)`), parameters complex, or the file names
an accelerator without fused optimizers, because the fused form raises there.

## References

- [torch.optim: algorithms and their implementations](https://pytorch.org/docs/stable/optim.html#algorithms)
- [AdamW](https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.optimizers import stays_on_cpu
from cudalint.facts.programs import Programs
from cudalint.facts.references import Reference, references
from cudalint.lazy import lazy_compile
from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

FUSED = {f"torch.optim.{name}" for name in ("Adam", "AdamW", "SGD")}
CHOICES = ("fused", "foreach", "capturable", "differentiable")
# `torch.compile(optimizer.step)`: the compiler fuses the foreach form, and not the fused one.
_COMPILED = lazy_compile(rb"\bcompile\(\s*[\w.]*\bopt\w*\.step\b")


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Every such call whose parameters may be on CUDA."""
    if not facts.devices.evidence or _compiles_the_step(facts.text):
        return
    programs = Programs(facts)
    if programs.is_test or not _may_place(facts, programs):
        return
    for reference in references(facts, FUSED):
        name = reference.path.rpartition(".")[2]
        for call in _calls(facts, reference):
            if not _is_chosen(facts, call):
                yield Finding(
                    rule="CUF012",
                    span=Span(call.start_byte, call.end_byte),
                    message=f"`{name}` without `fused=True` launches a dozen kernels for each update",
                    captures={"call": call, "name": name},
                )


def _calls(facts: PythonFacts, reference: Reference) -> Iterator[Node]:
    """The calls of the class, and those of a name that it alone is bound to."""
    if reference.role == "call" and reference.holder is not None:
        yield reference.holder
    bound = reference.node.parent if reference.role == "value" else None
    if bound is None or bound.type != "assignment":
        return
    left = bound.child_by_field_name("left")
    if left is None or left.type != "identifier":
        return
    for node in facts.identifiers(facts.code(left)):
        call = node.parent
        is_called = call is not None and call.child_by_field_name("function") == node
        if is_called and call is not None and facts.names.qualified(node) == reference.path:
            yield call


def _may_place(facts: PythonFacts, programs: Programs) -> bool:
    """A program that runs by itself and speaks of no device keeps its model on the CPU."""
    if facts.devices.named or not programs.may_run:
        return True
    return any(True for _ in facts.identifiers("device", "to", "gpu"))


def _is_chosen(facts: PythonFacts, call: Node) -> bool:
    given = facts.loaders.arguments(call)  # a dict that is made in several steps is read
    if given.open or any(choice in given.keywords for choice in CHOICES):
        return True
    parameters = given.get("params", 0)
    return parameters is None or stays_on_cpu(facts, parameters)


def _compiles_the_step(text: bytes) -> bool:
    return b"compile(" in text and _COMPILED.search(text) is not None
