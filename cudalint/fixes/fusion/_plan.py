"""The common half of fusion fixes: prove that a fused call can stand for what a match consumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from cudalint.facts.graph.consume import Consumption, Kept, consumption, settle
from cudalint.facts.graph.render import Renderer, Unspeakable
from cudalint.facts.graph.unfit import Unfit
from cudalint.fixes.fusion._kernels import Kernel
from cudalint.fixes.fusion._write import freed, replaced
from cudalint.model import Finding, Patch, Plan, Refusal, Safety

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.values import Use, Value
    from cudalint.facts.python import PythonFacts


def planned(
    finding: Finding,
    facts: PythonFacts,
    target: Kernel,
    result: Value,
    consumed: Mapping[int, Value],
    reads: Iterable[Use],
    spell: Callable[[Renderer], str],
    exact: Callable[[], bool],
    helpers: bool = False,
    function: Node | None = None,
    adjust: Callable[[Consumption], None] | None = None,
) -> Plan | Refusal:
    """A plan that writes `spell(…)` in the result's place, or the reason why not.

    `reads` look at the header of a consumed value and must go with it; `exact` tells, after
    spelling, whether the same is computed in every program; with `helpers` calls of the file's own
    functions may be consumed. `function` is the one that is rewritten: the result may stand in a
    helper that it calls. `adjust` may widen what is replaced.
    """
    waits = waiting(finding, facts, target)
    if waits is not None:
        return waits
    if result.node is None:
        return Refusal("the result is chosen by a branch")
    function = function or facts.names.enclosing(result.node, "function_definition", "lambda")
    if function is None:
        return Refusal("it stands outside of a function")
    if function.type == "lambda":
        return Refusal("a lambda has no statements to write it into")
    if function.has_error:
        return Refusal("the function has a syntax error")
    graph = facts.graphs.of(function)
    try:
        place = consumption(facts, graph, result, consumed, helpers)
        if adjust is not None:
            adjust(place)
        render = Renderer(facts, graph, place.statement, place.expression, set(place.removed))
        text = spell(render)
        settle(facts, graph, place, consumed, render.names, render.moved)
    except (Kept, Unfit, Unspeakable) as reason:
        return Refusal(str(reason))
    for use in reads:
        if use.node is not None and not place.covers(use.node):
            line = facts.source.row(use.node.start_byte) + 1
            return Refusal(f"line {line} reads the shape or dtype of an intermediate value")
    safety: Safety = "safe" if exact() and target.asked else "unsafe"
    title = f"Replace by `{target.spelling}(…)`"
    return Plan(safety, title, finding, facts, {"text": text, "place": place, "need": target.need})


def waiting(finding: Finding, facts: PythonFacts, target: Kernel) -> Refusal | None:
    """Why a function without a kernel of its own is not written, unless it is asked for by name."""
    if not target.waits or facts.settings.fixable_by_name(finding.rule):
        return None
    reason = f"{target.waits} has no kernel of its own yet and makes nothing faster"
    return Refusal(f"{reason}; `--extend-fixable {finding.rule}` writes it all the same")


def patched(plan: Plan) -> Patch:
    """The edits of a plan that `planned` made."""
    from cudalint.facts.python import PythonFacts

    assert isinstance(plan.facts, PythonFacts)
    place = plan.data["place"]
    edits = replaced(plan.facts, place, plan.data["text"])
    return Patch(edits, frozenset({plan.data["need"]}), freed(plan.facts, place))
