"""Finds four and more element-wise operations in a row that run as a kernel each.

## What it does

Reports a chain of at least four element-wise operations (`x.mul(a).add(b).tanh() * c` …) in a method of
a module that runs every step, where each result is used by the next one alone and nothing compiles the
file. Left alone: parts of norms, softmaxes and GELUs, which other rules know, numbers of Python, what is
computed of parameters and positions alone, tensors of the CPU, and projects with
`assume-compiled = true`.

## Why is this bad

Memory bandwidth and launches; impact: low to medium, by the size of the tensor. In eager mode every
operation reads its operands from memory and writes a result as large; autograd keeps some of them. Four
operations move about eight times what one pass would.

## Example

```python
def forward(self, x):
    return torch.tanh(x * self.gain + self.bias) * self.scale + x.sin()
```

## Use instead

```python
@torch.compile
def blend(x, gain, bias, scale):
    return torch.tanh(x * gain + bias) * scale + x.sin()
```

## Fix safety

Advice: compiling changes start-up time and, by an ulp, results; a small tensor gains nothing.

## References

- [torch.compile](https://pytorch.org/docs/stable/generated/torch.compile.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.candidates import functions
from cudalint.facts.graph.patterns.pointwise import chains
from cudalint.facts.programs import Programs
from cudalint.facts.tensors.definitions import is_module_class
from cudalint.lazy import lazy_compile
from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.values import Value
    from cudalint.facts.python import PythonFacts

LEAST = 4
COMPILED = lazy_compile(
    rb"\bcompile\(|torch\.compile|\bjit\.script|@compile|jit_fuser|make_graphed"
)
# Vectors of a few numbers: where tokens stand, how long rows are, which step of the noise it is, what
# a distribution or a loss has for each row.
FEW = lazy_compile(
    r"position|rel_pos|lens?\b|length|noise_level|timestep|\bt_emb|n_floor|log_?var|log_?std|loss|snr"
    r"|proposal|coord"
)
OPERATORS = lazy_compile(rb"[*+/-]|\b(?:mul|add|sub|div)_?\(")
CALLS = lazy_compile(
    rb"exp|tanh|sigmoid|silu|relu|sqrt|log|abs|sin|cos|clamp|pow|where|lerp|square"
)


def check(facts: PythonFacts) -> Iterator[Finding]:
    """Each chain in hot code of a file that nothing compiles."""
    if facts.settings.assume_compiled or not facts.devices.evidence:
        return
    if COMPILED.search(facts.text) or Programs(facts).is_test:
        return
    for function in functions(facts, (OPERATORS,), (CALLS,)):
        if not _is_of_module(facts, function) or facts.loops.hot(_body(function)) is None:
            continue
        for chain in chains(facts.graphs.of(function), LEAST):
            if _counts(facts, function, chain):
                yield _finding(facts, chain)


def _body(function: Node) -> Node:
    return function.child_by_field_name("body") or function


def _counts(facts: PythonFacts, function: Node, chain: list[Value]) -> bool:
    """Whether it is written here, runs every step, and certainly computes tensors of the device."""
    nodes = [step.node for step in chain if step.node is not None and step.body == function]
    if len(nodes) < len(chain) or facts.loops.hot(nodes[-1]) is None:
        return False
    if any(FEW.search(facts.code(node)) for node in nodes):
        return False
    values = [facts.tensors.value(node) for node in nodes]
    may = all(one.is_on_device or one.kind == "unknown" for one in values)
    return may and facts.tensors.is_device_tensor(nodes[-1])


def _is_of_module(facts: PythonFacts, function: Node) -> bool:
    """A method of a module, whose tensors are activations; losses of a batch are small."""
    holder = facts.names.enclosing(function, "class_definition")
    return holder is not None and is_module_class(facts, holder)


def _finding(facts: PythonFacts, chain: list[Value]) -> Finding:
    nodes = [step.node for step in chain if step.node is not None]
    start = min(node.start_byte for node in nodes)
    end = max(node.end_byte for node in nodes)
    return Finding(
        rule="CUF021",
        span=Span(start, end),
        message=f"{len(nodes)} element-wise operations in a row are a kernel each, which reads and "
        "writes the whole tensor; compiled, they are one",
        captures={},
    )
