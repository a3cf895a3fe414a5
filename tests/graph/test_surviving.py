"""What names mean once the statements that a fix deletes are gone."""

from __future__ import annotations

import pytest

from cudalint.facts.graph.surviving import surviving
from tests.graph.making import graph_of

BOUND_AGAIN = """
def f(x):
    y = x * 2
    y = y.relu()
    return y
"""
ONE_ARM = """
def f(x, more):
    y = x * 2
    if more:
        y = y.relu()
    return y
"""
BOTH_ARMS = """
def f(x, more):
    y = x * 2
    if more:
        y = y.relu()
    else:
        y = y.tanh()
    return y
"""
WRITTEN = """
def f(x):
    y = x * 2
    z = y
    y = y.relu()
    z += 1
    return y
"""
VIEWED = """
def f(x):
    y = x * 2
    z = y[0]
    y = y.relu()
    z.mul_(2)
    return y
"""


def _held(source: str) -> str | None:
    """The operation that `y` holds at the return, once the statement with `relu` is gone."""
    graph = graph_of(source)
    (relu,) = graph.of("relu")
    (end,) = [u.node for v in graph.values for u in v.uses if u.kind == "return"]
    statement = end if end.type == "return_statement" else end.parent
    found = surviving(graph, statement, {relu.statement.id}).get("y")
    return None if found is None else found.value.op


@pytest.mark.parametrize("source", [BOUND_AGAIN, ONE_ARM])
def test_a_name_goes_back_to_what_it_held(source: str) -> None:
    assert _held(source) == "mul"


def test_what_the_other_arm_makes_of_it_stays() -> None:
    assert _held(BOTH_ARMS) == "phi"


@pytest.mark.parametrize("source", [WRITTEN, VIEWED])
def test_memory_that_was_written_since_is_not_what_it_held(source: str) -> None:
    assert _held(source) is None
