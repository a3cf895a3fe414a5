"""`cross_entropy(logits, …)` for `F.cross_entropy(logits.float(), …)`: the copy goes, all else stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.consume import Consumption, Kept, consumption
from cudalint.facts.graph.patterns.log_softmaxes import Found
from cudalint.facts.graph.pool import constant
from cudalint.facts.python import PythonFacts
from cudalint.facts.respell import insert_last, replace
from cudalint.fixes.fusion._kernels import kernel
from cudalint.fixes.fusion._write import freed, without
from cudalint.model import Edit, Finding, Patch, Plan, Refusal, Safety

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.values import Graph

_KEYWORDS = frozenset({"input", "target", "weight", "ignore_index", "reduction", "label_smoothing"})


def plan(finding: Finding, facts: PythonFacts, found: Found) -> Plan | Refusal:
    target = kernel(facts, "cross_entropy")
    assert target is not None and found.loss is not None  # torch's is never asked for here
    if target.waits and not facts.settings.fixable_by_name(finding.rule):
        return Refusal(f"{target.waits} has no kernel of its own yet and makes nothing faster")
    given = facts.names.arguments(found.loss.node)
    if len(given.positional) > 2 or not set(given.keywords) <= _KEYWORDS:
        return Refusal("options of the loss are given by position")
    others = [v for name, v in found.loss.options.items() if name not in given.keywords]
    if any(not isinstance(v, str) and v.op != "const" for v in others):
        return Refusal("what the loss is made with is no literal")
    if any(use.user is not None and use.user.op in ("dtype", "finfo") for use in found.reads):
        return Refusal("the dtype of the copy is read")
    base = _base(facts, found.logits.node)
    if base is None:
        return Refusal("the copy is not a plain cast")
    try:
        place = _place(facts, found, base)
    except Kept as reason:
        return Refusal(str(reason))
    safety: Safety = "safe" if target.asked and not found.module else "unsafe"
    title = f"Replace by `{target.spelling}(…)` without the copy"
    data = {"place": place, "target": target, "base": base}
    return Plan(safety, title, finding, facts, data)


def _base(facts: PythonFacts, cast: Node | None) -> Node | None:
    """What is cast: the object of `.float()`, `.to(torch.float32)` and their like."""
    function = cast.child_by_field_name("function") if cast is not None else None
    if cast is None or cast.type != "call" or function is None or function.type != "attribute":
        return None
    plain = len(facts.names.arguments(cast).positional) <= 1
    return function.child_by_field_name("object") if plain else None


def _place(facts: PythonFacts, found: Found, base: Node) -> Consumption:
    """The loss, and the statements that go: `logits = logits.float()`, the making of the loss.

    A cast that is part of more goes alone: all that is made of it is a view for this loss.
    """
    assert found.loss is not None and found.logits.node is not None
    loss = found.loss.node
    function = facts.names.enclosing(loss, "function_definition")
    assert function is not None  # graphs are of functions
    graph, cast = facts.graphs.of(function), found.logits
    statement = facts.names.statement(found.logits.node)
    alone = facts.code(statement) == f"{facts.code(base)} = {facts.code(found.logits.node)}"
    place = consumption(facts, graph, found.loss.value, {cast.id: cast} if alone else {})
    maker = _maker(facts, graph, place)
    if maker is not None:
        place.removed[maker.id] = maker
    return place


def _maker(facts: PythonFacts, graph: Graph, place: Consumption) -> Node | None:
    """`loss_fct = nn.CrossEntropyLoss()` in the same block, where nothing else calls it."""
    function = place.expression.child_by_field_name("function")
    if function is None or function.type != "identifier":
        return None
    slot = graph.before.get(place.statement.id, {}).get(facts.code(function))
    made = slot.definitions if slot is not None else ()
    statement = made[0].statement if len(made) == 1 else None
    if statement is None or statement.parent != place.home or set(made[0].reads) != {function.id}:
        return None
    assignment = statement.named_children[0]
    plain = statement.type == "expression_statement" and assignment.type == "assignment"
    alone = statement.start_point.row == statement.end_point.row
    return statement if plain and alone else None


def write(plan: Plan) -> Patch:
    facts, place, target = plan.facts, plan.data["place"], plan.data["target"]
    assert isinstance(facts, PythonFacts)
    found: Found = plan.finding.captures["found"]
    assert found.loss is not None and found.logits.node is not None
    node, listed = found.loss.node, found.loss.node.child_by_field_name("arguments")
    function = node.child_by_field_name("function")
    assert listed is not None and function is not None
    edits = [replace(function, target.spelling)]
    if place.outermost:
        edits.append(without(facts, place))
    if facts.names.statement(found.logits.node).id not in place.removed:
        edits.append(replace(found.logits.node, facts.code(plan.data["base"])))
    edits += _arguments(facts, found, listed)
    return Patch(tuple(edits), frozenset({target.need}), freed(facts, place))


def _arguments(facts: PythonFacts, found: Found, listed: Node) -> list[Edit]:
    """`input=` is called `logits=`; what a module was made with is written here."""
    assert found.loss is not None
    edits = []
    for child in listed.named_children:
        name = child.child_by_field_name("name") if child.type == "keyword_argument" else None
        if name is not None and facts.code(name) == "input":
            edits.append(replace(name, "logits"))
    given = facts.names.arguments(found.loss.node).keywords
    options = {n: v for n, v in found.loss.options.items() if n not in given}
    texts = [f"{n}={v if isinstance(v, str) else repr(constant(v))}" for n, v in options.items()]
    return [*edits, insert_last(listed, ", ".join(texts))] if texts else edits
