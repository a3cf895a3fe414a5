"""Conditions under which an operation is applied, as text."""

from __future__ import annotations

from cudalint.facts.graph.render import Renderer
from cudalint.facts.graph.values import Value
from cudalint.records import record


@record(frozen=True)
class Condition:
    """`test` is true (or, if not `wanted`, false)."""

    test: Value
    wanted: bool

    def text(self, render: Renderer) -> str:
        test, wanted = self.test, self.wanted
        if test.op == "not":
            test, wanted = test.operands[0], not wanted
        if test.op == "is_none":
            return f"{render.atom(test.operands[0])} is {'' if wanted else 'not '}None"
        return render.text(test) if wanted else f"not {render.atom(test)}"
