"""What the values of a function are made of: pointers, accesses, calls, loops, guards."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.cuda.affine import Kind, Poly
from cudalint.facts.cuda.types import CType

if TYPE_CHECKING:
    from tree_sitter import Node


class Pointer(NamedTuple):
    """An address: so many elements behind what `base` names.

    `space` is "global", "shared", "local" or "unknown"; `sizes` are the array dimensions that are
    still to be indexed. `slot` marks a reference: its name stands for the element itself.
    """

    base: str
    space: str
    offset: Poly
    type: CType
    sizes: tuple[Poly, ...] = ()
    slot: bool = False


class Lambda(NamedTuple):
    """A lambda bound to a name, to be read where it is called."""

    node: Node


Value = Poly | Pointer | Lambda


class Loop(NamedTuple):
    """A loop around an access. `turn` is the atom that counts its iterations; `step` what its
    variable grows by, where it has one; `bound` the right side of `variable < bound`."""

    node: Node
    turn: str
    variable: str
    first: Poly | None
    step: Poly | None
    bound: Poly | None


class Guard(NamedTuple):
    """A condition that holds (or, with `negated`, does not hold) where something runs."""

    node: Node
    kind: Kind
    negated: bool


class Access(NamedTuple):
    """A load, a store or both (`+=`, an atomic) of an element.

    `node` is the expression in the function itself; where a macro or a helper holds the access it
    is the call, and `inlined` is true.
    """

    node: Node
    pointer: Pointer
    loads: bool
    stores: bool
    atomic: bool
    loops: tuple[Loop, ...]
    guards: tuple[Guard, ...]
    inlined: bool


class Geometry(NamedTuple):
    """What a launch is given: the values between `<<<` and `>>>`, and those of its arguments."""

    configuration: tuple[Value, ...]
    arguments: tuple[Value, ...]


class Call(NamedTuple):
    """A call of something that is neither a cast nor a helper that was read."""

    node: Node
    name: str
    arguments: tuple[Value, ...]
    loops: tuple[Loop, ...]
    guards: tuple[Guard, ...]
    inlined: bool
