"""GELU and SiLU written out: a product of x with a sigmoid, or with 1 plus an erf or tanh of x."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from cudalint.facts.graph.patterns.literals import Literals
from cudalint.facts.graph.patterns.others import others
from cudalint.facts.graph.values import META, Graph, Use, Value
from cudalint.records import field, record

Kind = Literal["erf", "tanh", "silu", "quick"]
Polynomial = dict[int, float]

_ERF: Polynomial = {1: math.sqrt(0.5)}
_TANH: Polynomial = {1: math.sqrt(2 / math.pi), 3: math.sqrt(2 / math.pi) * 0.044715}
EXACT = 1e-6  # of a constant: what float32 cannot tell apart in the result
NEAR = 2e-4  # and what is the same function still, with a constant written short
_TERMS = 40


@record(eq=False)
class Activation:
    """One activation: `result` is what the fused function computes of `x`.

    `exact` is false where a constant is written with few digits, `used` where an intermediate
    value has another use.
    """

    kind: Kind
    result: Value
    x: Value
    exact: bool = True
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)
    used: bool = False


def activations(graph: Graph, literals: Literals) -> Iterator[Activation]:
    """The activations of a graph that are written out."""
    for anchor in graph.of("erf", "tanh", "sigmoid", "torch.ndtr"):
        found = _sigmoid(graph, anchor, literals) if anchor.op == "sigmoid" else None
        if anchor.op == "torch.ndtr":
            found = _climb(graph, anchor, anchor, literals, 1.0)
        elif anchor.op != "sigmoid":
            found = _plus_one(graph, anchor, literals)
        if found is not None and not _is_part_of_improvement(graph, found.result):
            found.reads, found.used = others(graph, found.result, found.consumed)
            yield found


def _sigmoid(graph: Graph, anchor: Value, literals: Literals) -> Activation | None:
    """`x * sigmoid(x)`; a sigmoid with another use is a gate, or the step of a derivative."""
    uses = [use for use in graph.uses(anchor) if use.user is None or use.user.op not in META]
    if len({id(use.user) for use in uses}) != 1:
        return None
    return _climb(graph, anchor, anchor, literals, 1.0)


def _plus_one(graph: Graph, anchor: Value, literals: Literals) -> Activation | None:
    """`0.5 * x * (1 + erf(…))`."""
    for user in _users(graph, anchor):
        if user.op == "add" and any(literals.of(part) == 1.0 for part in user.operands):
            found = _climb(graph, anchor, user, literals, 0.5)
            if found is not None:
                return found
    return None


def _climb(
    graph: Graph, anchor: Value, start: Value, literals: Literals, wanted: float
) -> Activation | None:
    """From a distribution up through the products with x and with numbers."""
    at, passed = start, [start]
    coefficient, factor = 1.0, None
    for _ in range(6):
        products = [user for user in _users(graph, at) if user.op == "mul"]
        if len(products) != 1:
            return None
        at = products[0]
        passed.append(at)
        other = at.operands[1] if at.operands[0] is passed[-2] else at.operands[0]
        plain = literals.of(other)
        if plain is not None:
            coefficient *= plain
        elif factor is None:
            factor = other
        else:
            return None
        if factor is not None:
            found = _complete(anchor, factor, coefficient, wanted, literals)
            if found is not None:
                kind, x, exact = found
                made = Activation(kind, at, x, exact)
                _consume(made, passed, anchor, factor)
                return made
    return None


def _complete(
    anchor: Value, factor: Value, coefficient: float, wanted: float, literals: Literals
) -> tuple[Kind, Value, bool] | None:
    """Which function of x a product is, where it is one: `factor` holds x and maybe a number."""
    for x, number in _readings(factor, literals):
        error = _error(coefficient * number, wanted)
        inner = _polynomial(anchor.operands[0], x, literals)
        if error > EXACT or inner is None:
            continue
        if anchor.op == "sigmoid":
            if inner == {1: 1.0}:
                return "silu", x, True
            if _distance(inner, {1: 1.702}) <= EXACT:
                return "quick", x, True
            continue
        if anchor.op == "torch.ndtr":
            if inner == {1: 1.0}:
                return "erf", x, True
            continue
        error = _distance(inner, _ERF if anchor.op == "erf" else _TANH)
        if error <= NEAR:
            return "erf" if anchor.op == "erf" else "tanh", x, error <= EXACT
    return None


def _readings(factor: Value, literals: Literals) -> Iterator[tuple[Value, float]]:
    """A factor as x alone, and as a number times x."""
    yield factor, 1.0
    if factor.op == "mul":
        for one, other in (factor.operands, factor.operands[::-1]):
            number = literals.of(one)
            if number is not None:
                yield other, number


def _polynomial(value: Value, x: Value, literals: Literals) -> Polynomial | None:
    """A value as a polynomial in x; None where it is none."""
    budget = [_TERMS]
    return _terms(value, x, literals, budget)


def _terms(value: Value, x: Value, literals: Literals, budget: list[int]) -> Polynomial | None:
    budget[0] -= 1
    if value is x:
        return {1: 1.0}
    plain = literals.of(value)
    if plain is not None or budget[0] < 0:
        return None if plain is None else {0: plain}
    if value.op == "pow" and len(value.operands) == 1 and value.attrs[0] in (2, 3):
        inner = _terms(value.operands[0], x, literals, budget)
        return None if inner is None else _multiplied(*[inner] * int(value.attrs[0]))
    if value.op not in ("add", "mul"):
        return None
    parts = [_terms(operand, x, literals, budget) for operand in value.operands]
    if parts[0] is None or parts[1] is None:
        return None
    if value.op == "mul":
        return _multiplied(parts[0], parts[1])
    powers = parts[0].keys() | parts[1].keys()
    return {power: parts[0].get(power, 0.0) + parts[1].get(power, 0.0) for power in powers}


def _multiplied(*factors: Polynomial) -> Polynomial:
    made: Polynomial = {0: 1.0}
    for factor in factors:
        terms: Polynomial = {}
        for a, one in made.items():
            for b, two in factor.items():
                terms[a + b] = terms.get(a + b, 0.0) + one * two
        made = terms
    return made


def _distance(found: Polynomial, wanted: Polynomial) -> float:
    """The largest relative error of a coefficient; infinite where the powers differ."""
    if {power for power, term in found.items() if term} != wanted.keys():
        return math.inf
    return max(_error(found[power], wanted[power]) for power in wanted)


def _error(found: float, wanted: float) -> float:
    return abs(found - wanted) / abs(wanted)


def _users(graph: Graph, value: Value) -> list[Value]:
    """The operations on a value's elements."""
    users = [use.user for use in graph.uses(value)]
    return list({u.id: u for u in users if u is not None and u.op not in META}.values())


def _is_part_of_improvement(graph: Graph, result: Value) -> bool:
    """`u * cdf(u) + pdf(u)`: expected improvement, where the product is no activation."""
    return any(
        user.op == "add" and any(part is not result and _is_density(part) for part in user.operands)
        for user in _users(graph, result)
    )


def _is_density(value: Value) -> bool:
    if value.op == "mul":
        return any(_is_density(part) for part in value.operands)
    return value.op == "exp"


def _consume(found: Activation, passed: list[Value], anchor: Value, factor: Value) -> None:
    """Everything between x and the result; numbers stay where they are."""
    consumed = {value.id: value for value in (*passed, anchor)}
    stack = [anchor.operands[0], *([factor] if factor is not found.x else [])]
    while stack:
        at = stack.pop()
        if at is found.x or at.op not in ("add", "mul", "pow") or at.id in consumed:
            continue
        if _reaches(at, found.x):
            consumed[at.id] = at
            stack.extend(at.operands)
    found.consumed = consumed


def _reaches(value: Value, x: Value) -> bool:
    stack, budget = [value], _TERMS
    while stack and budget:
        at, budget = stack.pop(), budget - 1
        if at is x:
            return True
        stack.extend(at.operands if at.op in ("add", "mul", "pow") else ())
    return False
