"""The vocabulary of value graphs: values, their uses, the definitions that hold them, storage."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

from cudalint.records import NamedTuple, field, record

if TYPE_CHECKING:
    from tree_sitter import Node

Shape = tuple["Value | None", ...]

LIMIT = 2_000  # values of one function; a larger one is opaque from there

# Reads of a tensor that look at its header and never at its elements.
META = frozenset({"shape", "size", "dtype", "device", "rank", "finfo", "is_none"})
# No work of their own: a value of an earlier name by branch, loop or unseen write, tuples that were
# taken apart, orders of dimensions and powers that were composed. Unread, they use nothing.
JOINS = frozenset({"phi", "opaque", "permute", "transpose", "pow", "tuple"})
# Each evaluation is a value of its own: equal operands do not mean equal results.
DRAWS = frozenset({"dropout", "random"})


_NUMBERS = count()


class Value:
    """The result of one operation, immutable: a write to memory makes names hold new values.

    `op` names the operation in its one spelling and `attrs` its constants. `node` is the source
    expression of the first evaluation and `statement` where it stands; a value that the one
    spelling needs but the source does not contain has no node. `body` is the function whose code
    holds the expression: another one than the graph's where a call was inlined, and `site` that call
    in the graph's own function. `shape` holds a size per dimension where the rank is known, None for an unknown size.
    """

    __slots__ = (
        *("attrs", "body", "id", "module", "node", "op", "operands"),
        *("shape", "shared", "site", "statement", "uses"),
    )

    def __init__(
        self, op: str, operands: tuple[Value, ...], attrs: tuple[Any, ...], identity: int
    ) -> None:
        self.op = op
        self.operands = operands
        self.attrs = attrs
        self.id = identity
        self.node: Node | None = None
        self.statement: Node | None = None
        self.body: Node | None = None
        self.site: Node | None = None
        self.shape: Shape | None = None
        self.uses: list[Use] = []
        self.module = False  # the result of calling a submodule, whose hooks can see it
        self.shared = False  # an in-place result whose memory others can see

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    def __repr__(self) -> str:
        inner = [*(f"%{operand.id}" for operand in self.operands), *map(repr, self.attrs)]
        return f"%{self.id} = {self.op}({', '.join(inner)})"


class Use(NamedTuple):
    """One use of a value: by another value, or (with none) by being returned, stored, tested…"""

    kind: str  # operand, return, store, test, call, capture
    user: Value | None
    node: Node | None


class Storage:
    """A piece of memory. Views share their base's; parts with different keys are disjoint.

    `external`: others than this function's names may see it. `joined`: one of several, by branch.
    """

    __slots__ = ("external", "joined", "key", "parent", "roots")

    def __init__(
        self,
        parent: Storage | None = None,
        key: object = None,
        external: bool = False,
        joined: tuple[Storage, ...] = (),
    ) -> None:
        self.parent = parent
        self.key = key
        self.joined = joined
        self.external: bool = external or (parent is not None and parent.external)
        self.roots: frozenset[int]
        if parent is not None:
            self.roots = parent.roots
        elif joined:
            self.roots = frozenset().union(*[part.roots for part in joined])
        else:
            self.roots = frozenset((next(_NUMBERS),))

    def escape(self) -> None:
        """From now on others may see it, through whatever it is a part of."""
        for alternative in self.alternatives():
            at: Storage | None = alternative
            while at is not None:
                at.external = True
                at = at.parent

    def alternatives(self) -> list[Storage]:
        """The pieces of memory that this one may be."""
        found, stack = [], [self]
        while stack:
            at = stack.pop()
            stack.extend(at.joined) if at.joined else found.append(at)
        return found

    def path(self) -> list[Storage]:
        """This storage and what it is a part of, from the outermost."""
        found, at = [], self
        while True:
            found.append(at)
            if at.parent is None:
                return found[::-1]
            at = at.parent

    @property
    def visible(self) -> bool:
        """Whether others may see it, as a part of something that they hold included."""
        return any(part.external for found in self.alternatives() for part in found.path())

    def overlaps(self, other: Storage) -> bool:
        """Whether a write to one can be seen through the other."""
        if self is other:
            return True
        if self.roots.isdisjoint(other.roots):
            return False
        if self.joined or other.joined:
            theirs = other.alternatives()
            return any(a.overlaps(b) for a in self.alternatives() for b in theirs)
        return _parts_overlap(self.path(), other.path())


def _parts_overlap(mine: list[Storage], theirs: list[Storage]) -> bool:
    if mine[0] is not theirs[0]:
        return False
    for a, b in zip(mine[1:], theirs[1:], strict=False):
        if a is b:
            continue
        parts = a.parent is b.parent and a.key is not None and b.key is not None
        return not (parts and a.key != b.key)
    return True


@record(eq=False)
class Definition:
    """One binding of a name, and the identifier nodes that may read it."""

    name: str
    statement: Node | None
    reads: dict[int, Node] = field(default_factory=dict)

    def read(self, node: Node) -> None:
        self.reads[node.id] = node


class Slot(NamedTuple):
    """What a name holds: a value, the memory it lives in, and the bindings that may be meant."""

    value: Value
    storage: Storage
    definitions: tuple[Definition, ...] = ()


Environment = dict[str, Slot]


@record(eq=False)
class Graph:
    """The values of one function.

    `opaque` says why the graph was given up, `before` what each name holds when a statement starts,
    `definitions` which bindings a statement makes, and `returned` the calls of helpers that were
    read in place, with what they gave back.
    """

    function: Node
    values: list[Value] = field(default_factory=list)
    opaque: str | None = None
    before: dict[int, Environment] = field(default_factory=dict)
    definitions: dict[int, list[Definition]] = field(default_factory=dict)
    by_op: dict[str, list[Value]] = field(default_factory=dict)
    returned: list[tuple[Node, Value]] = field(default_factory=list)

    def of(self, *ops: str) -> Iterator[Value]:
        """The values of these operations in order of evaluation."""
        if len(ops) == 1:
            yield from self.by_op.get(ops[0], ())
            return
        found = [value for op in ops for value in self.by_op.get(op, ())]
        yield from sorted(found, key=lambda value: value.id)

    def node_of(self, value: Value) -> Node | None:
        """The expression of this function that a value is: its own, or the call that returns it."""
        if value.body == self.function or value.node is None:
            return value.node
        return next((node for node, made in self.returned if made is value), None)

    def uses(self, value: Value) -> list[Use]:
        """What uses a value; a join that nothing reads is no use."""
        found: list[Use] = []
        stack, seen = [value], {value.id}
        while stack:
            for use in stack.pop().uses:
                if use.user is None or use.user.op not in JOINS:
                    found.append(use)
                elif use.user.id not in seen:
                    seen.add(use.user.id)
                    if self.is_read(use.user):
                        found.append(use)
        return found

    def is_read(self, value: Value) -> bool:
        """Whether anything but unread joins uses a value."""
        stack, seen = [value], {value.id}
        while stack:
            for use in stack.pop().uses:
                if use.user is None or use.user.op not in JOINS:
                    return True
                if use.user.id not in seen:
                    seen.add(use.user.id)
                    stack.append(use.user)
        return False
