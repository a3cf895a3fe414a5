"""Finds norms that are scaled and shifted by what the model's input decides, one operation at a time.

## What it does

Reports `norm(x) * (1 + scale) + shift` where the scale and the shift are computed for each sample,
as diffusion transformers modulate: of `nn.LayerNorm`, `nn.RMSNorm`, `F.layer_norm` and norms by
hand, with the helper `modulate(x, shift, scale)` read in place, in one statement or in many, with
`unsqueeze(1)`, `[:, None]` and casts in between.

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
where the norm's result is used elsewhere, or where its class is not of the file.

## References

- [Scalable Diffusion Models with Transformers](https://arxiv.org/abs/2212.09748)
- [Inductor](https://pytorch.org/docs/stable/torch.compiler.html)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cudalint.facts.graph.patterns.adaptive import AdaptiveNorm, adaptive_norms
from cudalint.facts.graph.patterns.candidates import functions, helpers
from cudalint.facts.graph.patterns.outermost import NORM_WORDS, is_wanted, norm_attributes
from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span

ONE = re.compile(rb"\b1(?:\.0?)? ?\+|\+ ?1(?:\.0?)?\b(?!\.)|add\(1\b")


def check(facts: PythonFacts) -> Iterator[Finding]:
    if facts.settings.assume_compiled or not ONE.search(facts.text):
        return
    for function in functions(
        facts, (*NORM_WORDS, *norm_attributes(facts)), (ONE, *helpers(facts, (ONE,)))
    ):
        graph = facts.graphs.of(function)
        for found in adaptive_norms(facts, graph):
            nodes, result = found.nodes(graph), graph.node_of(found.result)
            if not nodes or result is None or is_wanted(facts, nodes[0], function):
                continue
            start = min(nodes[0].start_byte, result.start_byte)
            captures = {"norm": found, "function": function}
            yield Finding("CUF014", Span(start, result.end_byte), _message(found), captures)


def _message(found: AdaptiveNorm) -> str:
    fused = "ada_layer_norm" if found.norm.kind == "layer" else "ada_rms_norm"
    return (
        "A norm, its scale and its shift each read and write the activation; one "
        f"`{fused}` call reads and writes it once"
    )
