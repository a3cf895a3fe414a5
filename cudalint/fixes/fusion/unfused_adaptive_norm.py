"""Writes `ada_layer_norm(x, scale=…, shift=…)`, or its RMS twin, with the parameters of the norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.adaptive import AdaptiveNorm
from cudalint.facts.graph.patterns.gates import GatedResidual
from cudalint.facts.graph.patterns.norm_calls import Term
from cudalint.facts.graph.patterns.residuals import written_later
from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.render import Renderer, Unspeakable
from cudalint.facts.graph.values import Value
from cudalint.fixes.fusion._kernels import kernel
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found = finding.captures["found"]
    if isinstance(found, GatedResidual):
        return _gated(finding, facts, found)
    assert isinstance(found, AdaptiveNorm)
    target = kernel(facts, "ada_layer_norm" if found.norm.kind == "layer" else "ada_rms_norm")
    if target is None:
        return Refusal("torch has no adaptive norm")
    if found.why is not None:
        return Refusal(found.why)
    if written_later(facts.graphs.of(finding.captures["function"]), found.x):
        return Refusal("what is normalised is changed in place later")
    if found.norm.offset:
        return Refusal("the norm adds a number to its weight")
    return planned(
        finding,
        facts,
        target,
        found.result,
        found.consumed,
        found.reads,
        lambda render: call(facts, render.expression, target.spelling, _arguments(found, render)),
        lambda: _is_exact(found),
        helpers=True,
        function=finding.captures["function"],
    )


def _gated(finding: Finding, facts: PythonFacts, found: GatedResidual) -> Plan | Refusal:
    target = kernel(facts, "gated_residual")
    if target is None:
        return Refusal("torch has no gated residual")
    if found.used:
        return Refusal("an intermediate value is used elsewhere")

    def spell(render: Renderer) -> str:
        given = [render.text(found.residual), render.text(found.y), broadcast(found.gate, render)]
        return call(facts, render.expression, target.spelling, given)

    return planned(
        finding,
        facts,
        target,
        found.result,
        found.consumed,
        found.reads,
        spell,
        lambda: False,
        helpers=True,
        function=finding.captures["function"],
    )


def write(plan: Plan) -> Patch:
    return patched(plan)


def _is_exact(found: AdaptiveNorm) -> bool:
    """Parameters may be of another dtype, and a scale of (B, C) without its dim of another rank."""
    norm, sides = found.norm, (found.factor[0], found.scale, found.shift)
    plain = norm.literal and norm.weight is None and norm.bias is None
    shaped = any(side.op in ("unsqueeze", "index") for side in sides[:2])
    return plain and shaped and sides[2].op in ("unsqueeze", "index")


def _arguments(found: AdaptiveNorm, render: Renderer) -> list[str]:
    x = render.text(found.x)
    given = {"scale": _scale(found, render), "shift": broadcast(found.shift, render)}
    norm = found.norm
    for name, term in (("weight", norm.weight), ("bias", norm.bias), ("eps", norm.eps)):
        given |= {} if term is None else {name: term_text(term, render)}
    if found.dtype == "float32":
        given["dtype"] = _float32(render)
    elif found.dtype is not None:
        given["dtype"] = f"{render.atom(found.dtype)}.dtype"
    return [x, *(f"{name}={text}" for name, text in given.items())]


def _float32(render: Renderer) -> str:
    spelling, _ = render.facts.names.need("torch")
    if spelling not in render.facts.names.module.bindings:
        raise Unspeakable("the file does not import torch by name")
    return f"{spelling}.float32"


def term_text(term: Term, render: Renderer) -> str:
    """A parameter as an argument."""
    assert term is not None
    return term if isinstance(term, str) else render.text(term)


def _scale(found: AdaptiveNorm, render: Renderer) -> str:
    """The scale, with the views that stand between `1 + scale` and the product."""
    views = [value for value in found.factor if value.op in ("unsqueeze", "index")]
    text = broadcast(found.scale, render) if not views else render.atom(found.scale)
    for view in reversed(views):
        text += _view(view)
    return text


def broadcast(value: Value, render: Renderer) -> str:
    """The text of a value; views that a helper adds are written here."""
    wide = value.op == "cast" and value.attrs == ("float32",)
    if value.body == render.graph.function or not (wide or value.op in ("unsqueeze", "index")):
        return render.text(value)
    return f"{broadcast(value.operands[0], render)}{'.float()' if wide else _view(value)}"


def _view(value: Value) -> str:
    """`.unsqueeze(1)`, or `[:, None]` with nothing but whole dims and new ones."""
    if value.op == "unsqueeze":
        return f".unsqueeze({value.attrs[0]})"
    return f"[{', '.join(_index(index) for index in value.operands[1:])}]"


def _index(index: Value) -> str:
    if is_const(index, None):
        return "None"
    if is_const(index, Ellipsis):
        return "..."
    if index.op != "slice" or not all(is_const(part, None) for part in index.operands):
        raise Unspeakable("the scale is a part of something")
    return ":"
