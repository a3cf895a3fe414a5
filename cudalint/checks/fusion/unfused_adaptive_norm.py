"""Finds norms that are scaled and shifted by what the model's input decides, one operation at a time.

## What it does

Reports `norm(x) * (1 + scale) + shift` where the scale and the shift are computed for each sample,
as diffusion transformers modulate: of `nn.LayerNorm`, `nn.RMSNorm`, `F.layer_norm` and norms by
hand, with the helper `modulate(x, shift, scale)` read in place, in one statement or in many, with
`unsqueeze(1)`, `[:, None]` and casts in between; and beside such a norm `x + gate * y`, where the
gate is made together with the scale.

Left alone: an affine of parameters, a scale without `1 +` or without a shift, and the hand-written
side of a pair whose other side is fused.

## Why is this bad

Impact: medium; the limits are memory bandwidth and launches. The norm writes the activation, the
product reads and writes it, the sum reads and writes it again: three kernels and six passes where
one kernel makes two. A diffusion transformer does this twice a layer, in every step of its sampler.

## Example

```python
def forward(self, x, c):
    shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
    return self.linear(self.norm(x) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1))
```

## Use instead

```python
from cudalint.kernels import ada_layer_norm

def forward(self, x, c):
    shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
    x = ada_layer_norm(x, scale=scale.unsqueeze(1), shift=shift.unsqueeze(1), eps=self.norm.eps)
    return self.linear(x)
```

torch has no such function: with `kernel-source = "torch"` the rule only reports. With
`assume-compiled = true` it is silent, because inductor fuses these operations by itself.

## Fix safety

Safe for `F.layer_norm` without a weight, with a scale and a shift that are broadcast in sight, where
the project asked for `cudalint.kernels` (`kernel-source` is set, or it is a dependency). Unsafe
otherwise: the weight and the epsilon of a submodule are read from it and the submodule is no longer
called, so hooks on it do not run; results differ by the roundings that are left out. Not rewritten
where the norm's result is used elsewhere, or where its class is not of the file. A gated residual
becomes `gated_residual(x, y, gate)`, unsafe, because that x and y have one shape is not seen. A scale of
two dims means one row a sample to the fused function; code that means one row a token writes three.

## References

- [Scalable Diffusion Models with Transformers](https://arxiv.org/abs/2212.09748)
- [Inductor](https://pytorch.org/docs/stable/torch.compiler.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.adaptive import AdaptiveNorm, adaptive_norms
from cudalint.facts.graph.patterns.candidates import functions, helpers
from cudalint.facts.graph.patterns.gates import GatedResidual, gated_residuals
from cudalint.facts.graph.patterns.outermost import NORM_WORDS, is_wanted, norm_attributes
from cudalint.facts.graph.values import Graph
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span
from cudalint.registry import ONE_MORE

if TYPE_CHECKING:
    from tree_sitter import Node


def check(facts: PythonFacts) -> Iterator[Finding]:
    if facts.settings.assume_compiled or not ONE_MORE.search(facts.text):
        return
    norms = (*NORM_WORDS, *norm_attributes(facts))
    for function in functions(facts, norms, (ONE_MORE, *helpers(facts, (ONE_MORE,)))):
        graph = facts.graphs.of(function)
        adaptive = list(adaptive_norms(facts, graph))
        every: list[AdaptiveNorm | GatedResidual] = [*adaptive]
        every += gated_residuals(graph, adaptive)
        for found in every:
            span = _span(graph, found)
            if span is not None and not is_wanted(facts, _first(graph, found), function):
                captures = {"found": found, "function": function}
                yield Finding("CUF014", span, _message(found), captures)


def _first(graph: Graph, found: AdaptiveNorm | GatedResidual) -> Node | None:
    """The first expression of the function itself that a computation consumes."""
    nodes = [v.node for v in found.consumed.values() if v.node and v.body == graph.function]
    return min(nodes, key=lambda node: node.start_byte, default=None)


def _span(graph: Graph, found: AdaptiveNorm | GatedResidual) -> Span | None:
    first, result = _first(graph, found), graph.node_of(found.result)
    if first is None or result is None:
        return None
    return Span(min(first.start_byte, result.start_byte), result.end_byte)


def _message(found: AdaptiveNorm | GatedResidual) -> str:
    if isinstance(found, GatedResidual):
        return (
            "The gate and the sum each read and write the activation; one `gated_residual` call "
            "reads and writes it once"
        )
    fused = "ada_layer_norm" if found.norm.kind == "layer" else "ada_rms_norm"
    return (
        "A norm, its scale and its shift each read and write the activation; one "
        f"`{fused}` call reads and writes it once"
    )
