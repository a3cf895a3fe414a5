"""Gated residuals: `x + gate · y`, the gate made together with the scale of an adaptive norm."""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.patterns.adaptive import AdaptiveNorm, root_of
from cudalint.facts.graph.patterns.others import others
from cudalint.facts.graph.values import Graph, Use, Value
from cudalint.records import field, record

_FUSED = ("cudalint.kernels.ada_layer_norm", "cudalint.kernels.ada_rms_norm")


@record(eq=False)
class GatedResidual:
    """`result = residual + gate · y`; `used`: something else needs the product."""

    result: Value
    residual: Value
    y: Value
    gate: Value
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)
    used: bool = False


def gated_residuals(graph: Graph, norms: list[AdaptiveNorm]) -> Iterator[GatedResidual]:
    """The sums of a graph whose gate comes from where a norm's scale comes from."""
    sources = {_source(norm.scale).id for norm in norms} | set(_fused_sources(graph))
    results = {norm.result.id for norm in norms} | {
        v.id for n in norms for v in n.consumed.values()
    }
    for value in graph.of("add") if sources else ():
        if value.id not in results:
            found = _gated(value, sources)
            if found is not None:
                found.reads, found.used = others(graph, found.result, found.consumed)
                yield found


def _fused_sources(graph: Graph) -> Iterator[int]:
    """Where the scales of calls of this package come from."""
    for value in graph.of(*_FUSED):
        given = dict(zip(reversed(value.attrs), reversed(value.operands), strict=False))
        if "scale" in given:
            yield _source(given["scale"]).id


def _source(value: Value) -> Value:
    """The chunk, or what gave the attributes `scale` and `gate`."""
    at = root_of(value)
    while at.op in ("tanh", "attr"):
        at = root_of(at.operands[0])
    return at


def _gated(value: Value, sources: set[int]) -> GatedResidual | None:
    for product, residual in (value.operands, value.operands[::-1]):
        if product.op != "mul" or _source(residual).id in sources:
            continue
        for gate, y in (product.operands, product.operands[::-1]):
            if gate.operands and _source(gate).id in sources and _source(y).id not in sources:
                found = GatedResidual(value, residual, y, gate)
                found.consumed = {value.id: value, product.id: product}
                return found
    return None
