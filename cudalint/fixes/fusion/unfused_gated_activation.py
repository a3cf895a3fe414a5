"""Writes `swiglu` or `geglu`, of two tensors or of one that holds both halves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.gated import Gated
from cudalint.facts.graph.values import META
from cudalint.fixes.fusion._kernels import Kernel, kernel
from cudalint.fixes.fusion._order import swaps
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.graph.render import Renderer
    from cudalint.facts.graph.values import Value
    from cudalint.facts.python import PythonFacts


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found: Gated = finding.captures["gated"]
    if found.packed is not None:
        made = _planned(finding, facts, found, True)
        if isinstance(made, Plan):
            return made
    return _planned(finding, facts, found, False)


def write(plan: Plan) -> Patch:
    return patched(plan)


def _planned(finding: Finding, facts: PythonFacts, found: Gated, packed: bool) -> Plan | Refusal:
    target = kernel(facts, f"{found.kind}_packed" if packed else found.kind)
    if target is None:
        return Refusal("torch has no such function")
    consumed = {**found.consumed, **(found.halves if packed else {})}
    spell = _packed if packed else _apart
    return planned(
        finding,
        facts,
        target,
        found.result,
        consumed,
        [use for use in found.reads if use.user is not None and _is_of(use.user, consumed)],
        lambda render: spell(target, found, render),
        lambda: not found.module and (found.chunk is not None or _of_one_width(facts, found)),
    )


def _is_of(header: Value, consumed: dict[int, Value]) -> bool:
    """Whether a read looks at the header of a value that goes."""
    return header.op in META and any(operand.id in consumed for operand in header.operands)


def _packed(target: Kernel, found: Gated, render: Renderer) -> str:
    assert found.packed is not None
    given = [render.text(found.packed), f"gate_first={found.gate_first}", *_form(found)]
    return call(render.facts, render.expression, target.spelling, given)


def _apart(target: Kernel, found: Gated, render: Renderer) -> str:
    gate, up = render.text(found.gate), render.text(found.up)
    given = [gate, up]
    if swaps(render, found.gate, found.up):
        given = [f"up={up}", f"gate={gate}"]  # computed in the order that they stand in
    return call(render.facts, render.expression, target.spelling, [*given, *_form(found)])


def _form(found: Gated) -> list[str]:
    return ['approximate="tanh"'] if found.approximate == "tanh" else []


def _of_one_width(facts: PythonFacts, found: Gated) -> bool:
    """Whether both operands are linear layers with as many outputs."""
    widths = [_width(facts, value) for value in (found.gate, found.up)]
    return widths[0] is not None and widths[0] == widths[1]


def _width(facts: PythonFacts, value: Value) -> str | None:
    holder = facts.graphs.classes.of(value.body) if value.body is not None else None
    name = str(value.attrs[0]).removeprefix("self.") if value.op == "linear" else ""
    found = facts.graphs.classes.module(holder, name) if holder is not None and name else None
    if found is None or len(found) != 1 or found[0].kind != "Linear" or not found[0].certain:
        return None
    width = facts.names.arguments(found[0].call).get("out_features", 1)
    return None if width is None else facts.code(width)
