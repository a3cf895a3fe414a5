"""A tensor that is turned, and what may follow: a cast back, and the part that was not turned."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cudalint.facts.graph.patterns.halves import Layout, joined, narrowed
from cudalint.facts.graph.pool import is_const, is_number, number
from cudalint.facts.graph.values import META, Graph, Value
from cudalint.records import field, record

Form = Literal["full", "half", "complex"]


class Tables(NamedTuple):
    """What is multiplied: cosines and sines, as one factor or several; complex: both in `cos`."""

    cos: tuple[Value, ...]
    sin: tuple[Value, ...]
    form: Form
    opposite: bool

    def key(self) -> tuple[object, ...]:
        ids = (tuple(v.id for v in self.cos), tuple(v.id for v in self.sin))
        return (*ids, self.form, self.opposite)


class Stage(NamedTuple):
    """A result that a fused call may have: the turned tensor, cast, or with its rest again.

    `dtype` is the cast that the result went through, `x` the tensor that the call is given; `like`
    the one whose dtype the memory has that the result was written to.
    """

    result: Value
    x: Value
    dtype: Value | None
    passed: tuple[Value, ...]
    like: Value | None = None


@record(eq=False)
class Turn:
    """One tensor that is turned. `x` is it before casts, `wide` after them, where they agree.

    `sure`: the halves are equal; `reordered`: they are put back in another order than taken, which
    no fused function does; `used`: an intermediate value has another use.
    """

    x: Value
    layout: Layout
    tables: Tables
    stages: list[Stage]
    core: dict[int, Value]
    wide: Value | None = None
    casts: tuple[Value, ...] = ()
    sure: bool = True
    reordered: bool = False
    used: bool = False
    consumed: dict[int, Value] = field(default_factory=dict)

    @property
    def result(self) -> Value:
        return self.stages[-1].result

    @property
    def upcast(self) -> bool:
        return bool(self.casts)


def climb(graph: Graph, turn: Turn) -> None:
    """Further results: cast back, and with the part that was not turned."""
    for _ in range(3):
        last = turn.stages[-1]
        uses = [u for u in graph.uses(last.result) if not (u.user and u.user.op in META)]
        users = {id(use.user): use.user for use in uses}
        user = next(iter(users.values())) if len(users) == 1 else None
        if user is None:
            return
        back = user.op == "cast" and len(user.operands) > 1 and user.operands[0] is last.result
        if back and last.dtype is None:
            turn.stages.append(Stage(user, last.x, user, (*last.passed, user)))
        elif user.op == "tuple" and (rest := _rest(graph, turn, user, last)) is not None:
            turn.stages.append(rest)
        else:
            return


def _rest(graph: Graph, turn: Turn, parts: Value, last: Stage) -> Stage | None:
    """`cat((turned, x[..., n:]), -1)` where `x[..., :n]` was turned."""
    users = [use.user for use in parts.uses if use.user is not None]
    if len(users) != 1 or len(parts.operands) != 2 or parts.operands[0] is not last.result:
        return None
    whole, rest = users[0], parts.operands[1]
    front = turn.x
    if not whole.op.startswith("torch.c") or joined(whole) is None or last.x is not front:
        return None
    base = _front(front, rest)
    if base is None:
        return None
    inner, _casts = narrowed(rest)
    passed = (*last.passed, parts, whole, front, rest, inner, *_above(front, base))
    return Stage(whole, base, last.dtype, passed)


def _above(front: Value, base: Value) -> tuple[Value, ...]:
    return (front.operands[0],) if front.operands[0] is not base else ()


def _front(front: Value, rest: Value) -> Value | None:
    """The tensor whose first numbers and whose others two values are."""
    if front.op != "index" or rest.op != "index" or front.operands[0] is not rest.operands[0]:
        return None
    base, *first = front.operands
    _, *second = rest.operands
    if base.op == "split" and len(base.operands) == 3 and is_const(base.operands[2], -1):
        ends = [number(i) if is_number(i) else None for i in (*first, *second)]
        two = base.operands[1].op == "tuple" and len(base.operands[1].operands) == 2
        return base.operands[0] if ends == [0, 1] and two else None
    cut, other = first[-1], second[-1]
    if cut.op != "slice" or other.op != "slice" or first[:-1] != second[:-1]:
        return None
    low, high = cut.operands, other.operands
    begins = is_const(low[0], None) or is_const(low[0], 0)
    ends_there = begins and low[1] is high[0] and is_const(high[1], None)
    plain = is_const(low[2], None) and is_const(high[2], None)
    is_last = all(i.op == "slice" or is_const(i, ...) for i in first[:-1])
    return base if ends_there and plain and is_last and not is_const(low[1], None) else None


def close(graph: Graph, turn: Turn) -> None:
    """What the turn consumes: preparations that something else needs stay."""
    consumed = dict(turn.core)
    for stage in turn.stages:
        consumed.update({value.id: value for value in stage.passed})
        consumed[stage.result.id] = stage.result
    consumed.pop(turn.stages[-1].x.id, None)
    results = {stage.result.id for stage in turn.stages}
    changed = True
    while changed:
        changed = False
        sites = {value.site.id for value in consumed.values() if value.site is not None}
        for value in list(consumed.values()):
            if value.id in results or not _is_needed(graph, value, consumed, sites):
                continue
            if value.op in ("mul", "add") and value.id in turn.core and _depends(value, turn.x):
                turn.used = True
                continue
            _drop(value, consumed)
            changed = True
    turn.consumed = consumed


def _depends(value: Value, x: Value) -> bool:
    stack, seen = [value], {value.id}
    while stack and len(seen) < 200:
        at = stack.pop()
        if at is x:
            return True
        stack.extend(operand for operand in at.operands if operand.id not in seen)
        seen.update(operand.id for operand in at.operands)
    return False


def _is_needed(graph: Graph, value: Value, consumed: dict[int, Value], sites: set[int]) -> bool:
    """Whether anything but what is consumed uses a value."""
    for use in graph.uses(value):
        if use.user is None:
            return True
        gone = use.user.site is not None and use.user.site.id in sites
        if use.user.id not in consumed and not gone:
            return True
    return False


def _drop(value: Value, consumed: dict[int, Value]) -> None:
    stack = [value]
    while stack:
        at = stack.pop()
        if consumed.pop(at.id, None) is not None:
            stack.extend(at.operands)
