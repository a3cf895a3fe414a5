"""Chains: from a value down through the steps that made it, to the product that it came from.

A step is one operation on the running value. Where a branch may add steps (`if mask is not None:`)
both ways must end in the same value, and the steps of the two arms are one conditional step.
"""

from __future__ import annotations

from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.values import Value
from cudalint.lazy import lazy_compile
from cudalint.records import field, record

DEEP = 60

# The running value is operand 0 of these.
_PASSING = {
    "permute": "permute",
    "transpose": "view",
    "view": "view",
    "expand": "view",
    "squeeze": "view",
    "unsqueeze": "view",
    "reshape": "view",
    "einops.rearrange": "view",
    "torch.flatten": "view",
    "torch.unflatten": "view",
    "torch.reshape_as": "view",
    "torch.view_as": "view",
    "cast": "cast",
    "to_device": "cast",
    "dropout": "dropout",
    "masked_fill": "mask",
    "index_put": "assign",
    "clamp": "clamp",
    "torch.nan_to_num": "clamp",
    "tanh": "tanh",
    "detach": "detach",
    "softmax": "softmax",
}
_BIAS = lazy_compile(r"mask|bias|rel_?pos|alibi|pos_")
_TWO = {"add": "add", "mul": "mul", "maximum": "clamp"}


@record(eq=False)
class Step:
    """One operation on the running value: `value` is its result, `other` its second operand.

    A `branch` has a test and the steps of both arms, each from the top down.
    """

    kind: str
    value: Value
    other: Value | None = None
    test: Value | None = None
    arms: tuple[list[Step], list[Step]] = field(default_factory=lambda: ([], []))
    base: Value | None = None  # the product of the second arm, where the arms have one each

    def walk(self) -> list[Step]:
        """This step and those inside its arms."""
        return [self, *(inner for arm in self.arms for step in arm for inner in step.walk())]


class Chain:
    """Finds the steps between a value and a softmax, and on to a matrix product."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], tuple[list[Step], Value] | None] = {}

    def down(self, value: Value, softened: bool, depth: int = 0) -> tuple[list[Step], Value] | None:
        """The steps from the top down, and the product they start from; None if it is no chain.

        `softened`: the softmax was already met, so a product ends the chain.
        """
        key = (value.id, softened)
        if key not in self._known:
            self._known[key] = None
            self._known[key] = self._down(value, softened, depth) if depth < DEEP else None
        return self._known[key]

    def _down(self, value: Value, softened: bool, depth: int) -> tuple[list[Step], Value] | None:
        if value.op == "matmul":
            return ([], value) if softened else None
        if value.op == "phi":
            return self._branch(value, softened, depth)
        for step, below in _steps(value):
            if step.kind == "softmax" and softened:
                return None
            found = self.down(below, softened or step.kind == "softmax", depth + 1)
            if found is not None:
                return [step, *found[0]], found[1]
        return None

    def _branch(self, value: Value, softened: bool, depth: int) -> tuple[list[Step], Value] | None:
        test, one, two = value.operands
        a, b = self.down(one, softened, depth + 1), self.down(two, softened, depth + 1)
        if a is None or b is None:
            return None
        if a[1] is not b[1]:
            if any(step.kind == "softmax" for step in (*a[0], *b[0])):
                return None
            return [Step("branch", value, None, test, (a[0], b[0]), b[1])], a[1]
        left, right, tail = _common(a[0], b[0])
        inner = [_split(arm) for arm in (left, right)]
        if inner[0][1] is None and inner[1][1] is None:
            return [Step("branch", value, None, test, (left, right)), *tail], a[1]
        return _two_softmaxes(value, test, inner, tail, a[1])


def _steps(value: Value) -> list[tuple[Step, Value]]:
    """The ways in which a value is a step on another."""
    op, operands = value.op, value.operands
    if op in _PASSING:
        kind = _PASSING[op]
        if kind == "cast" and op == "cast" and value.attrs and "int" in str(value.attrs[0]):
            return []
        other = operands[1] if len(operands) > 1 else None
        return [(Step(kind, value, other), operands[0])]
    if op in _TWO:
        first, second = operands
        kind = _TWO[op]
        return [(Step(kind, value, second), first), (Step(kind, value, first), second)]
    if op == "where":
        test, kept, other = operands
        return [(Step("keep", value, test), kept), (Step("drop", value, test), other)]
    return _by_name(value) if op == "call" else []


def _by_name(value: Value) -> list[tuple[Step, Value]]:
    """Code of elsewhere that says by its name what it does to the running value."""
    name = _called(value)
    kind = "unknown dropout" if "drop" in name else "unknown bias" if _BIAS.search(name) else None
    return [(Step(kind, value), operand) for operand in value.operands] if kind else []


def _called(value: Value) -> str:
    name = str(value.attrs[0]) if value.attrs else ""
    if not name and value.node is not None:
        function = value.node.child_by_field_name("function")
        name = (function.text or b"").decode("utf-8", "replace") if function is not None else ""
    return name.rpartition(".")[2].lower()


def _common(a: list[Step], b: list[Step]) -> tuple[list[Step], list[Step], list[Step]]:
    """Two lists without their common end, and that end."""
    size = 0
    while size < min(len(a), len(b)) and a[-1 - size].value is b[-1 - size].value:
        size += 1
    return a[: len(a) - size], b[: len(b) - size], a[len(a) - size :]


def _split(arm: list[Step]) -> tuple[list[Step], Step | None, list[Step]]:
    for at, step in enumerate(arm):
        if step.kind == "softmax":
            return arm[:at], step, arm[at + 1 :]
    return arm, None, []


def _two_softmaxes(
    value: Value,
    test: Value,
    inner: list[tuple[list[Step], Step | None, list[Step]]],
    tail: list[Step],
    base: Value,
) -> tuple[list[Step], Value] | None:
    """Both arms end in a softmax of their own: one softmax between two conditional steps."""
    (above, one, below), (over, two, under) = inner
    if one is None or two is None or one.value.attrs != two.value.attrs:
        return None
    top = Step("branch", value, None, test, (above, over))
    middle = Step("softmax", one.value, two.value)
    bottom = Step("branch", one.value.operands[0], None, test, (below, under))
    return [top, middle, bottom, *tail], base


def flat(steps: list[Step]) -> list[Step]:
    """All steps, those in arms included."""
    return [inner for step in steps for inner in step.walk()]


def is_shift(step: Step, running: Value) -> bool:
    """Whether a step subtracts the running value's own maximum, which softmax undoes."""
    if step.kind != "add" or step.other is None:
        return False
    other = step.other
    if other.op != "mul" or not is_const(other.operands[1], -1):
        return False
    at, budget = other.operands[0], 8
    while at.op in ("detach", "expand", "unsqueeze", "index", "pair", "view") and budget:
        at, budget = at.operands[0], budget - 1
    return at.op == "amax" and at.operands[0] is running
