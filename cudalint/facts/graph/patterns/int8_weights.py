"""The plain form of an expanded weight: a cast of int8 and one scale for each row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.unfit import Unfit
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.patterns.dequantized import Expanded
    from cudalint.facts.graph.values import Graph, Value
    from cudalint.facts.python import PythonFacts

_INT8 = lazy_compile(r"\btorch\.int8\b")
# One number for each row: a factory of one size, or a maximum over the columns.
_VECTOR = lazy_compile(
    r"torch\.(?:ones|zeros|empty)\(\s*\(?[\w.]+,?\)?\s*(?:,\s*\w+\s*=|\))|\.amax\((?:dim=)?-?1\)"
)
# The same with a second dim of one, which `int8_linear` takes for a single group.
_COLUMN = lazy_compile(
    r"torch\.(?:ones|zeros|empty)\(\s*\(?[\w.]+,\s*1\)?\s*(?:,\s*\w+\s*=|\))"
    r"|\.amax\((?:dim=)?-?1,\s*keepdim=True\)"
)
_NO_ROWS = "whether there is one scale for each row is not in sight"


def scales_of(facts: PythonFacts, graph: Graph, found: Expanded) -> Value:
    """The scales, of shape (rows,) or (rows, 1); `Unfit` says what the weight is instead."""
    if found.unpacks or any(step.op in ("add", "phi") for step in found.steps.values()):
        raise Unfit("the layout of packed, grouped or shifted weights is the model's own")
    cast, scales, shape = _parts(found)
    if cast.op != "cast" or cast.operands[0] is not found.stored:
        raise Unfit("the weight is not a cast of the integers")
    kind = cast.operands[1] if len(cast.operands) > 1 else None
    if kind is None or kind.op != "dtype" or kind.operands[0] is not found.x:
        raise Unfit("the integers are not cast to the dtype of the input")
    if shape is not None and not shape.search(_made(facts, graph, scales)):
        raise Unfit(_NO_ROWS)
    if re.search(r"Parameter\((?!.*requires_grad=False)", _made(facts, graph, scales), re.DOTALL):
        raise Unfit("the scales are trained")
    if not _INT8.search(_made(facts, graph, found.stored)):
        raise Unfit("whether the weight is int8 is not in sight")
    return scales


def biased(graph: Graph, found: Expanded) -> tuple[Value, Value | None]:
    """The value of `F.linear(x, w, bias)`, and the bias, where the product's call has one."""
    users = [use.user for use in graph.uses(found.result)]
    user = users[0] if len(users) == 1 else None
    if user is None or user.op != "add" or user.node != found.product.node:
        return found.result, None
    return user, next(part for part in user.operands if part is not found.result)


def _parts(found: Expanded) -> tuple[Value, Value, re.Pattern[str] | None]:
    """The cast of the integers, the scales, and how these must be made to have a fitting shape."""
    if found.after is not None:
        return found.weight, _uncast(found.after), _VECTOR
    parts = found.weight.operands if found.weight.op == "mul" else ()
    casts = [part for part in parts if part.op == "cast" and part.operands[0] is found.stored]
    others = [part for part in parts if part not in casts]
    if len(casts) != 1 or len(others) != 1:
        raise Unfit("the weight is not a cast of the integers times their scales")
    inner = _uncast(others[0])
    vector = _without_column(inner)
    return (casts[0], inner, _COLUMN) if vector is None else (casts[0], _uncast(vector), None)


def _without_column(scales: Value) -> Value | None:
    """`s` of `s[:, None]` and `s.unsqueeze(-1)`."""
    if scales.op == "unsqueeze" and scales.attrs in ((-1,), (1,)):
        return scales.operands[0]
    if scales.op != "index" or len(scales.operands) != 3:
        return None
    rows, last = scales.operands[1:]
    whole = rows.op == "slice" and all(is_const(part, None) for part in rows.operands)
    return scales.operands[0] if whole and is_const(last, None) else None


def _uncast(value: Value) -> Value:
    return value.operands[0] if value.op == "cast" else value


def _made(facts: PythonFacts, graph: Graph, value: Value) -> str:
    """The source of what the class makes an attribute from, a name followed once; else ""."""
    holder = facts.graphs.classes.of(value.body or graph.function)
    made = holder.assigned(str(value.attrs[0])) if holder and value.op == "self" else None
    if made is None:
        return ""
    return facts.code(_followed(facts, made))


def _followed(facts: PythonFacts, node: Node) -> Node:
    found = facts.flow.reaching(node) if node.type == "identifier" else []
    value = found[0].value if len(found) == 1 and found[0].kind == "assign" else None
    return value if value is not None else node
