"""Patterns over values: a rule states a computation, and every spelling of it matches.

    SQUARE = op("pow", var("x"), attrs=(2,))
    RMS = op("pow", op("add", op("mean", SQUARE, attrs=last), var("eps")), attrs=(-0.5,))

The order of the operands of commutative operations is ignored, a variable that occurs twice must
be one value, and every operation that a match passes through is `consumed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations

from cudalint.facts.graph.pool import COMMUTATIVE, number
from cudalint.facts.graph.pool import is_number as _is_number
from cudalint.facts.graph.values import Value
from cudalint.records import field, record

Test = Callable[[Value], bool]


@record(frozen=True)
class Match:
    """What the variables of a pattern stand for, and the operations that it consumes."""

    bound: Mapping[str, Value] = field(default_factory=dict)
    consumed: tuple[Value, ...] = ()

    def __getitem__(self, name: str) -> Value:
        return self.bound[name]

    def get(self, name: str) -> Value | None:
        return self.bound.get(name)

    def bind(self, name: str, value: Value) -> Match | None:
        """With a variable bound; None where it stands for another value already."""
        known = self.bound.get(name)
        if known is not None:
            return self if known is value else None
        return Match({**self.bound, name: value}, self.consumed)

    def consume(self, value: Value) -> Match:
        return Match(self.bound, (*self.consumed, value))


Pattern = Callable[[Value, Match], Iterator[Match]]


def first(pattern: Pattern, value: Value) -> Match | None:
    """The first way in which a value matches."""
    return next(pattern(value, Match()), None)


def var(name: str, where: Test | None = None) -> Pattern:
    """Any value, the same one wherever the name occurs; `where` limits it."""

    def match(value: Value, so_far: Match) -> Iterator[Match]:
        found = so_far.bind(name, value) if where is None or where(value) else None
        if found is not None:
            yield found

    return match


def op(
    name: str, *operands: Pattern, attrs: tuple[object, ...] | Test | None = None, as_: str = ""
) -> Pattern:
    """An operation on operands that match; `attrs` are its constants, or a test of the value."""

    def match(value: Value, so_far: Match) -> Iterator[Match]:
        if value.op != name or len(value.operands) != len(operands):
            return
        if callable(attrs):
            if not attrs(value):
                return
        elif attrs is not None and value.attrs != attrs:
            return
        start: Match | None = so_far.consume(value)
        if as_ and start is not None:
            start = start.bind(as_, value)
        if start is None:
            return
        orders = permutations(value.operands) if name in COMMUTATIVE else (value.operands,)
        for order in orders:
            yield from _all(operands, order, start)

    return match


def _all(
    patterns: tuple[Pattern, ...], values: tuple[Value, ...], so_far: Match
) -> Iterator[Match]:
    if not patterns:
        yield so_far
        return
    for found in patterns[0](values[0], so_far):
        yield from _all(patterns[1:], values[1:], found)


def either(*patterns: Pattern) -> Pattern:
    """Any of several patterns, tried in order."""

    def match(value: Value, so_far: Match) -> Iterator[Match]:
        for pattern in patterns:
            yield from pattern(value, so_far)

    return match


def through(names: frozenset[str], inner: Pattern, where: Test | None = None) -> Pattern:
    """`inner` under any number of these operations on one running value (casts, views)."""

    def match(value: Value, so_far: Match) -> Iterator[Match]:
        yield from inner(value, so_far)
        if value.op in names and (where is None or where(value)):
            yield from match(value.operands[0], so_far.consume(value))

    return match


def product(*factors: Pattern) -> Pattern:
    """A product of factors in any order and nesting, with as many factors as patterns."""

    def match(value: Value, so_far: Match) -> Iterator[Match]:
        for values, inner in _factors(value, len(factors)):
            start = so_far
            for made in inner:
                start = start.consume(made)
            for order in permutations(values):
                yield from _all(factors, order, start)

    return match


def _factors(value: Value, count: int) -> Iterator[tuple[tuple[Value, ...], tuple[Value, ...]]]:
    """The ways to read a value as a product of `count` factors, and the products consumed."""
    if count == 1:
        yield (value,), ()
        return
    if value.op != "mul":
        return
    left, right = value.operands
    for size in range(1, count):
        for a, inside in _factors(left, size):
            for c, within in _factors(right, count - size):
                yield (*a, *c), (value, *inside, *within)


def is_number(low: float | None = None, high: float | None = None) -> Test:
    """A test for a literal number in a range."""

    def test(value: Value) -> bool:
        if not _is_number(value):
            return False
        found = number(value)
        return (low is None or low <= found) and (high is None or found <= high)

    return test
