"""What else uses the values that a computation consumes."""

from __future__ import annotations

from collections.abc import Mapping

from cudalint.facts.graph.values import META, Graph, Use, Value


def others(graph: Graph, result: Value, consumed: Mapping[int, Value]) -> tuple[list[Use], bool]:
    """Who reads the header (shape, dtype) of an intermediate value; whether anybody reads a value.

    The first must go along with the computation, the second keeps it from being replaced. Uses of
    `result` are nobody's business.
    """
    reads, used = [], False
    for value in consumed.values():
        for use in graph.uses(value) if value is not result else ():
            if use.user is not None and use.user.id in consumed:
                continue
            if use.user is not None and use.user.op in META:
                reads.append(use)
            else:
                used = True
    return reads, used
