"""Reads the steps of an attention, from the scores upwards, into the arguments of a fused call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.layout import compose, trimmed
from cudalint.facts.graph.patterns.attention import Attention
from cudalint.facts.graph.patterns.attention_terms import Part, Terms
from cudalint.facts.graph.patterns.chain import Step
from cudalint.facts.graph.patterns.conditions import Condition
from cudalint.facts.graph.patterns.lengths import positions
from cudalint.facts.graph.patterns.masks import (
    is_infinite,
    is_infinite_triangle,
    is_large_negative,
    is_triangle,
)
from cudalint.facts.graph.patterns.numbers import is_python_number
from cudalint.facts.graph.pool import is_const, is_number
from cudalint.facts.graph.unfit import Unfit
from cudalint.facts.graph.values import Graph, Value

if TYPE_CHECKING:
    from cudalint.facts.graph.classes import Class
    from cudalint.facts.python import PythonFacts


class _Reader:
    """Reads the steps of one attention, from the scores upwards."""

    def __init__(self, facts: PythonFacts, graph: Graph, found: Attention) -> None:
        self.facts = facts
        self.graph = graph
        self.found = found
        self.holder: Class | None = facts.graphs.classes.of(graph.function)
        self.terms = Terms(found.query, found.key, found.value)
        self.biased = False  # something was added already: a scale would scale it too
        self.lowered: Value | None = None  # tanh(scores / cap), waiting for its factor

    def read(self) -> Terms:
        found, terms = self.found, self.terms
        self._layout()
        for step in reversed(found.below):
            self._below(step)
        if self.lowered is not None:
            raise Unfit("the scores pass through tanh")
        cast = False
        for step in reversed(found.above):
            cast = self._above(step) or cast
        self._dtypes(cast)
        self._inner_scale()
        if found.softmax.value.module or found.softmax.other is not None:
            terms.exact = False
        if found.rank is not None or (terms.query.rank is None and found.scores.rank is None):
            terms.exact = False
        return terms

    def _layout(self) -> None:
        found = self.found
        if found.swapped:
            raise Unfit("the scores are transposed")
        order: tuple[int, ...] = ()
        for step in (*reversed(found.below), *reversed(found.above)):
            if step.kind == "permute":
                order = compose(order, step.value.attrs)
        if trimmed(order):
            raise Unfit("the scores change their layout on the way")
        grouped = [v.op == "unsqueeze" and v.node is None for v in (found.key, self._values())]
        if any(grouped):
            heads = {v.attrs for v in (found.key, self._values()) if v.op == "unsqueeze"}
            if not all(grouped) or heads != {(-3,)}:
                raise Unfit("keys and values are broadcast over different dims")
            self.terms.grouped, self.terms.exact = True, False

    def _values(self) -> Value:
        value = self.found.value
        return value.operands[0] if value.op == "permute" else value

    # -- below the softmax ----------------------------------------------------------------------

    def _below(self, step: Step, condition: Condition | None = None) -> None:
        kind = step.kind
        if kind in ("permute", "shift"):
            return
        if kind == "cast":
            if step.value.op != "cast" or step.value.attrs != ("float32",):
                raise Unfit("the scores are cast on the way")
        elif kind == "mul" and condition is None:
            self._scale(step)
        elif kind == "tanh" and condition is None:
            self._soften()
        elif kind == "add":
            self._add(step, condition)
        elif kind in ("mask", "keep", "drop"):
            self._mask(step, condition)
        elif kind == "branch" and condition is None:
            self._branch(step)
        else:
            raise Unfit(_REASONS.get(kind, "an operation on the scores has no place in it"))

    def _branch(self, step: Step) -> None:
        one, two = step.arms
        if step.base is not None or bool(one) == bool(two) or step.test is None:
            raise Unfit("both arms of a branch change the scores")
        condition = Condition(step.test, bool(one))
        if [inner.kind for inner in one or two] == ["mul", "tanh", "mul"]:
            self._optional_cap(condition, one or two)
            return
        for inner in reversed(one or two):
            self._below(inner, condition)

    def _scale(self, step: Step) -> None:
        other = step.other
        assert other is not None
        if self.lowered is not None:
            self._cap(other)
            return
        if self.biased:
            raise Unfit("the bias is added before the scale")
        if is_python_number(self.facts, self.holder, self.graph.function, other):
            self.terms.scales.append(other)
        elif _is_scale(other):
            self.terms.tensor_scales.append(other)
            self.terms.exact = False
        else:
            raise Unfit("the scores are multiplied by what may be more than a number")

    def _soften(self) -> None:
        """`tanh(scores / cap)`: the last scale is the cap's inverse."""
        scales = self.terms.scales or self.terms.tensor_scales
        if not scales or self.biased:
            raise Unfit("the scores pass through tanh")
        self.lowered = scales.pop()

    def _cap(self, factor: Value) -> None:
        lowered, self.lowered = self.lowered, None
        assert lowered is not None
        if lowered.op != "pow" or lowered.attrs != (-1,) or lowered.operands[0] is not factor:
            raise Unfit("the scores pass through tanh")
        self.terms.softcap = factor

    def _optional_cap(self, condition: Condition, steps: list[Step]) -> None:
        """`if self.cap is not None:` around a soft cap: None is no cap for the function either."""
        for inner in reversed(steps):
            self._below(inner)
        test, cap = condition.test, self.terms.softcap
        if condition.wanted or test.op != "is_none" or test.operands[0] is not cap:
            raise Unfit("the soft cap is under a condition")

    def _add(self, step: Step, condition: Condition | None) -> None:
        other = step.other
        assert other is not None
        if is_number(other):
            return  # softmax does not see a constant
        self.biased = True
        lengths = self._lengths()
        square = lengths is not None and lengths[0] is lengths[1]
        if lengths is not None and square and is_infinite_triangle(other, lengths[0]):
            self.terms.causal.append(condition)
            return
        self.terms.exact = False
        part = Part(other, condition)
        if not self.terms.masks and _is_mask(other):
            self.terms.masks.append(part)
        else:
            self.terms.biases.append(part)

    def _mask(self, step: Step, condition: Condition | None) -> None:
        value, mask = step.value, step.other
        assert mask is not None
        fill = value.operands[{"mask": 2, "keep": 2, "drop": 1}[step.kind]]
        drops = step.kind != "keep"
        if not (is_infinite(fill) or is_large_negative(fill)):
            raise Unfit("what the mask fills in may not be minus infinity")
        lengths = self._lengths()
        if lengths is not None and is_triangle(
            self.facts, self.holder, mask, lengths[0], lengths[1], drops
        ):
            self.terms.causal.append(condition)
            self.terms.exact = self.terms.exact and (is_infinite(fill) or not self._half())
            return
        self.terms.exact = False
        self.terms.masks.append(Part(mask, condition, drops))

    def _half(self) -> bool:
        return True  # a finite fill can be reached by half-precision scores

    def _lengths(self) -> tuple[Value, Value] | None:
        """The lengths of queries and keys; where they are not proven the fix is not exact."""
        rows, is_proven = positions(self.found.query)
        columns, is_too = positions(self.found.key)
        if rows is None or columns is None:
            return None
        self.terms.exact = self.terms.exact and is_proven and is_too
        return rows, columns

    # -- above it -------------------------------------------------------------------------------

    def _above(self, step: Step) -> bool:
        """Read a step on the weights; whether it casts them."""
        kind = step.kind
        if kind == "permute":
            return False
        if kind == "cast":
            if step.value.op != "cast":
                raise Unfit("the weights move to another device")
            return True
        if kind == "dropout":
            self._dropout(step.value)
            return False
        raise Unfit(_REASONS.get(kind, "an operation on the weights has no place in it"))

    def _dropout(self, value: Value) -> None:
        if self.terms.dropout is not None:
            raise Unfit("dropout is applied twice")
        if value.attrs[0] == "module":
            p = value.attrs[2]
            if p == "?":
                raise Unfit(f"`{value.attrs[1]}` may be something else than nn.Dropout")
            if p == 0.0:
                return
        elif is_const(value.operands[1], 0) or is_const(value.operands[2], False):
            return
        self.terms.dropout = value
        self.terms.exact = False

    # -- dtypes and the scale of an operand ----------------------------------------------------

    def _dtypes(self, cast: bool) -> None:
        """Upcast operands are passed as they were where the weights are cast back."""
        terms = self.terms
        upcast = [v.op == "cast" and v.attrs == ("float32",) for v in (terms.query, terms.key)]
        if cast and any(upcast):
            if not all(upcast):
                raise Unfit("only one of query and key is cast to float32")
            terms.query, terms.key = terms.query.operands[0], terms.key.operands[0]
            terms.exact = False
        softened = any(s.kind == "cast" for s in self.found.below)
        softened = softened or self.found.softmax.value.operands[0].op == "cast"
        if softened and not cast:
            if self._values().op == "cast" and not all(upcast):
                raise Unfit("the result stays in float32")
            terms.exact = False
        if cast and not self._casts_back():
            terms.exact = False

    def _casts_back(self) -> bool:
        casts = [s.value for s in self.found.above if s.kind == "cast"]
        owners = [v.operands[1].operands[0] for v in casts if len(v.operands) > 1]
        known = {self.terms.query.id, self.terms.key.id, self._values().id, self.found.scores.id}
        return len(owners) == len(casts) and all(owner.id in known for owner in owners)

    def _inner_scale(self) -> None:
        """`(q * scale) @ k.T` in the consumed expression itself: the scale is the call's."""
        terms, query = self.terms, self.found.query
        if query.op != "mul" or terms.query is not query or terms.softcap is not None:
            return
        if terms.scales or terms.tensor_scales or len(self.graph.uses(query)) != 1:
            return
        if terms.key.op == "mul":
            return  # half of it on each side keeps half-precision scores in range
        first, second = query.operands
        outer = self.found.scores.node
        inner = query.node
        if outer is None or inner is None or is_number(first):
            return
        inside = outer.start_byte <= inner.start_byte and inner.end_byte <= outer.end_byte
        numeric = is_python_number(self.facts, self.holder, self.graph.function, second)
        if inside and numeric and not is_const(second, -1):
            terms.query, terms.scales = first, [second]


def _plain(value: Value) -> Value:
    """Through the powers that divisions and roots are spelled by."""
    while value.op == "pow" and len(value.operands) == 1:
        value = value.operands[0]
    return value


def _is_scale(value: Value) -> bool:
    """A factor that is called a scale: one number for all keys, be it a tensor."""
    value = _plain(value)
    while len(value.operands) == 1 and value.op in ("exp", "sqrt", "torch.tensor", "to_device"):
        value = value.operands[0]
    if value.op in ("self", "input", "attr"):
        name = str(value.attrs[0]).lower()
        return any(word in name for word in ("scale", "scaling", "norm_fact", "temperature"))
    return is_number(value)


def _is_mask(value: Value) -> bool:
    """Whether what is added is called a mask."""
    node, name = value.node, ""
    if node is not None and node.text is not None:
        name = node.text.decode("utf-8", "replace")
    elif value.op in ("input", "self"):
        name = str(value.attrs[0])
    return "mask" in name.lower()


_REASONS = {
    "view": "the scores change their shape on the way",
    "clamp": "the scores are clamped",
    "assign": "parts of the scores are assigned",
    "detach": "the weights are detached",
    "unknown dropout": "what drops weights is not in sight",
    "unknown bias": "what changes the scores is not in sight",
    "branch": "the weights change under a condition",
    "mask": "the weights are masked after the softmax",
    "mul": "a factor is under a condition or follows the softmax",
}


def terms_of(facts: PythonFacts, found: Attention) -> Terms:
    """The arguments of a fused call in place of an attention."""
    node = found.result.node
    function = facts.names.enclosing(node, "function_definition") if node is not None else None
    if function is None:
        raise Unfit("it stands outside of a function")
    return _Reader(facts, facts.graphs.of(function), found).read()
