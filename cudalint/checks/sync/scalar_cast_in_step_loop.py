"""Finds device tensors turned into Python numbers or text in code that runs every step.

## What it does

Reports `float(t)`, `int(t)`, `bool(t)` and `round(t)` of a device tensor, and device tensors that
are formatted (`f"{t:.3f}"`, `"%f" % t`, `"{}".format(t)`), in hot code: the body of a training,
evaluation or decoding loop, a method that a framework calls once a step, functions of the file
called from there. Throttled code, sizes, Python numbers and tensors on the CPU are left alone.

## Why is this bad

Synchronisation; impact: high for small models, medium else. Each of these calls `.item()` behind
the scenes: the host waits until the GPU has run everything that was launched, copies one number,
and the GPU idles while the next step is prepared.

## Example

```python
correct = 0
for images, labels in loader:
    correct += int((model(images).argmax(1) == labels).sum())
print(correct / len(dataset))
```

## Use instead

```python
correct = 0
for images, labels in loader:
    correct += (model(images).argmax(1) == labels).sum()
correct = int(correct)
print(correct / len(dataset))
```

## Fix safety

Unsafe, as for CUS001: sums of floating-point terms are kept in the dtype of the terms instead of
Python's double. Only `float` and `int` of terms of that kind, in a sum, a list or a name that is
read in throttled code alone, are rewritten; `round`, `bool` and formatted text need the value every
step.

## References

- [PyTorch performance tuning guide: avoid unnecessary CPU-GPU synchronization](https://pytorch.org/tutorials/recipes/recipes/tuning_guide.html#avoid-unnecessary-cpu-gpu-synchronization)
- [CUS001 item-in-step-loop](#item-in-step-loop)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.tensors.tables import REDUCTIONS
from cudalint.lazy import lazy_compile
from cudalint.model import Finding, Span
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_CASTS = ("float", "int", "bool", "round")
# What is cast there is no tensor, or the call is a method's: `float("nan")`, `x.float()`.
_NO_TENSOR = lazy_compile(
    rb"(?<=\.)\w|\w+\((?:[\"'][^\"'\n]*[\"']\)|[-+]?[\d.]+\)|os\.(?:environ|getenv)\b"
    rb"|(?:len|math\.\w+)\([^()\n]*\)\))"
)
_PERCENT = lazy_compile(rb"%")
_BEFORE_PERCENT = (b'"', b"'", b")", b"\\", b"\n")
_FSTRING = Rare(
    tuple(letter + quote for letter in (b"f", b"F", b"r", b"R") for quote in (b"'", b'"')),
    rb"\b(?:[fF][rR]?|[rR][fF])[\"']",
)
_QUOTED = (b'"', b"'", b'f"', b"f'")
_STRINGS = ("string", "concatenated_string")


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Casts and formatting of certain device tensors in hot code."""
    if not facts.loops.any or not facts.devices.evidence:
        return
    for read, operands, how in (*_casts(facts), *_percents(facts), *_formats(facts)):
        reason = facts.loops.hot(read)
        if reason is None:
            continue
        tensors = [node for node in operands if _is_device_tensor(facts, node)]
        if tensors:
            where = facts.loops.describe(reason)
            what = facts.code(tensors[0]) if len(facts.code(tensors[0])) <= 40 else "a tensor"
            yield Finding(
                rule="CUS004",
                span=Span(read.start_byte, read.end_byte),
                message=f"{how} of `{what}` {where} makes the host wait for the GPU",
                captures={"read": read, "operand": tensors[0], "reason": reason},
            )


def _is_device_tensor(facts: PythonFacts, node: Node) -> bool:
    """A certain tensor, or a reduction of what is most likely one (`int(mask.sum())`)."""
    if facts.tensors.is_device_tensor(node):
        return True
    function = node.child_by_field_name("function") if node.type == "call" else None
    if function is None or function.type != "attribute":
        return False
    reduces = facts.code(function.children[-1]) in REDUCTIONS
    return reduces and facts.tensors.value(function.children[0]).is_on_device


def _casts(facts: PythonFacts) -> Iterator[tuple[Node, list[Node], str]]:
    """`float(x)` and its like, of one argument."""
    text, may_run = facts.text, facts.loops.may_run
    for call in facts.calls(
        *_CASTS, where=lambda at: not _NO_TENSOR.match(text, at) and may_run(at)
    ):
        given = facts.names.arguments(call).positional
        if not given or call.children[0].type != "identifier":
            continue
        name = facts.code(call.children[0])
        if facts.names.callee(call) == f"builtins.{name}":
            yield call, given[:1], f"`{name}()`"


def _percents(facts: PythonFacts) -> Iterator[tuple[Node, list[Node], str]]:
    """`"%f" % x`, `"%d %f" % (n, x)`."""
    for at in facts.places(_PERCENT):
        formats = facts.text[max(0, at - 80) : at].rstrip(b" \t")[-1:] in _BEFORE_PERCENT
        sign = facts.at(at, at + 1) if formats and facts.loops.may_run(at) else None
        node = sign.parent if sign is not None and sign.type == "%" else None
        if node is None or node.type != "binary_operator":
            continue
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        while left is not None and left.type == "parenthesized_expression" and left.named_children:
            left = left.named_children[0]
        if left is None or right is None or left.type not in _STRINGS:
            continue
        yield node, right.named_children if right.type == "tuple" else [right], "formatting"


def _formats(facts: PythonFacts) -> Iterator[tuple[Node, list[Node], str]]:
    """`f"{x:.3f}"`, each value a read of its own, and `"{:.3f}".format(x)`."""
    for at in facts.places(_FSTRING):
        counts = _is_filled(facts.text, at) and not _is_raised(facts.text, at)
        start = facts.at(at, at + 1) if counts and facts.loops.may_run(at) else None
        string = start.parent if start is not None and start.type == "string_start" else None
        for node in string.named_children if string is not None else ():
            value = node.child_by_field_name("expression") if node.type == "interpolation" else None
            if value is not None:
                yield node, [value], "formatting"
    for call in facts.calls("format", where=facts.loops.may_run):
        function = call.children[0]
        if function.type != "attribute" or not _is_text(function.children[0]):
            continue
        given = facts.names.arguments(call)
        yield call, [*given.positional, *given.keywords.values()], "formatting"


def _is_filled(text: bytes, at: int) -> bool:
    """Whether a formatted string may hold a value: one of a single row needs a brace there."""
    row = text[at : text.find(b"\n", at)]
    return b"{" in row or row.endswith(b"\\") or b'"""' in row or b"'''" in row


def _is_raised(text: bytes, at: int) -> bool:
    """Whether a string is the message of an exception: in the row of a `raise`, or first below it."""
    start = text.rfind(b"\n", 0, at) + 1
    row = text[start:at].lstrip()
    if row:
        return row.startswith(b"raise ")
    while start > 0 and (not row or row.startswith(_QUOTED)):
        end, start = start - 1, text.rfind(b"\n", 0, start - 1) + 1
        row = text[start:end].strip()
    return row.startswith(b"raise ") and row.endswith(b"(")


def _is_text(node: Node) -> bool:
    while node.type == "parenthesized_expression" and node.named_children:
        node = node.named_children[0]
    return node.type in _STRINGS
