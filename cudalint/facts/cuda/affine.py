"""Integers as polynomials over what a thread knows: where it stands, and what its block shares.

An index such as `blockIdx.x * blockDim.x + threadIdx.x` is a sum of products of atoms. Atoms are
alike within a block, the thread's own coordinates, constant over runs of consecutive threads
(`i / n`), different from thread to thread in no known form (loaded values), or unknown. Division
and remainder by what a block shares keep the form: `i % n` is `i - n * (i / n)`, so that an index
that was taken apart and put together again is the same polynomial.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

# A sum of more products than this is some number.
_TERMS = 24


class Kind(IntEnum):
    """How a value differs between the threads of a block; the larger says less."""

    CONSTANT = 0
    UNIFORM = 1
    THREAD = 2
    PIECEWISE = 3
    VARYING = 4
    UNKNOWN = 5


class Atom(NamedTuple):
    """Something that is not taken apart."""

    name: str
    kind: Kind


class Poly:
    """A polynomial with integer coefficients; equal ones are equal and hash alike."""

    def __init__(self, terms: dict[tuple[Atom, ...], int]) -> None:
        self.terms = {atoms: factor for atoms, factor in terms.items() if factor}

    @staticmethod
    def of(value: int | Atom) -> Poly:
        if isinstance(value, Atom):
            return Poly({(value,): 1})
        return Poly({(): value})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Poly) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __add__(self, other: Poly) -> Poly:
        terms = dict(self.terms)
        for atoms, factor in other.terms.items():
            terms[atoms] = terms.get(atoms, 0) + factor
        return Poly(terms)

    def __neg__(self) -> Poly:
        return Poly({atoms: -factor for atoms, factor in self.terms.items()})

    def __sub__(self, other: Poly) -> Poly:
        return self + -other

    def __mul__(self, other: Poly) -> Poly:
        terms: dict[tuple[Atom, ...], int] = {}
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                atoms = tuple(sorted(left + right))
                terms[atoms] = terms.get(atoms, 0) + a * b
        return Poly(terms)

    @cached_property
    def constant(self) -> int | None:
        """The number, where it is one."""
        if not self.terms:
            return 0
        return self.terms.get(()) if len(self.terms) == 1 else None

    @cached_property
    def atoms(self) -> frozenset[Atom]:
        return frozenset(atom for atoms in self.terms for atom in atoms)

    @cached_property
    def kind(self) -> Kind:
        """The kind of its worst atom."""
        return max((atom.kind for atom in self.atoms), default=Kind.CONSTANT)

    @cached_property
    def kind_of_result(self) -> Kind:
        """The kind of what is computed from it in an unknown way, or loaded from where it says."""
        kind = max(self.kind, Kind.UNIFORM)
        if kind in (Kind.THREAD, Kind.PIECEWISE):
            factor = self.coefficient("threadIdx.x")
            runs = factor is not None and factor.constant == 0
            still = not self.names("threadIdx.y", "threadIdx.z")
            return Kind.PIECEWISE if runs and still and kind == Kind.PIECEWISE else Kind.VARYING
        return kind

    @property
    def is_uniform(self) -> bool:
        """Whether all threads of a block have the same."""
        return self.kind <= Kind.UNIFORM

    @property
    def is_large(self) -> bool:
        return len(self.terms) > _TERMS

    def names(self, *names: str) -> bool:
        """Whether an atom of one of these names occurs."""
        return any(atom.name in names for atom in self.atoms)

    def coefficient(self, name: str) -> Poly | None:
        """The factor of an atom; None where it stands to a higher power."""
        found: dict[tuple[Atom, ...], int] = {}
        for atoms, factor in self.terms.items():
            times = sum(atom.name == name for atom in atoms)
            if times > 1:
                return None
            if times:
                rest = tuple(atom for atom in atoms if atom.name != name)
                found[rest] = found.get(rest, 0) + factor
        return Poly(found)

    def without(self, name: str) -> Poly:
        """The sum of the terms that do not hold an atom."""
        return Poly({a: f for a, f in self.terms.items() if all(atom.name != name for atom in a)})

    def divided_by(self, number: int) -> Poly | None:
        """The quotient where every factor divides."""
        if number == 0 or any(factor % number for factor in self.terms.values()):
            return None
        return Poly({atoms: factor // number for atoms, factor in self.terms.items()})

    def __repr__(self) -> str:
        def term(atoms: tuple[Atom, ...], factor: int) -> str:
            names = "*".join(atom.name for atom in atoms)
            return f"{factor}*{names}" if names and factor != 1 else names or str(factor)

        return " + ".join(term(*item) for item in sorted(self.terms.items())) or "0"


ZERO = Poly({})
ONE = Poly({(): 1})
THREAD = {axis: Atom(f"threadIdx.{axis}", Kind.THREAD) for axis in "xyz"}
BLOCK_SIZE = Poly.of(Atom("blockDim.x", Kind.UNIFORM))
BLOCK = Poly.of(Atom("blockIdx.x", Kind.UNIFORM))
GRID_SIZE = Poly.of(Atom("gridDim.x", Kind.UNIFORM))
RANK = Poly.of(THREAD["x"])
GLOBAL_RANK = BLOCK * BLOCK_SIZE + RANK
ALL_THREADS = BLOCK_SIZE * GRID_SIZE


class Atoms:
    """The atoms of one function: an operation on the same operands is the same atom."""

    def __init__(self) -> None:
        self._known: dict[object, Atom] = {}
        self._quotients: dict[Atom, tuple[Poly, Poly]] = {}

    def opaque(self, key: object, kind: Kind) -> Poly:
        """Some value, the same for the same key."""
        atom = self._known.get(key)
        if atom is None:
            atom = self._known[key] = Atom(f"@{len(self._known)}", kind)
        return Poly.of(atom)

    def operation(self, name: str, *operands: Poly) -> Poly:
        """An operation that has no form of its own: alike where its operands are."""
        kind = max((one.kind_of_result for one in operands), default=Kind.UNIFORM)
        return self.opaque((name, *operands), kind)

    def divide(self, a: Poly, b: Poly) -> Poly:
        """`a / b`."""
        if b.constant == 0:
            return self.opaque("division by zero", Kind.UNKNOWN)
        if b.constant is not None:
            if a.constant is not None:
                return Poly.of(int(a.constant / b.constant))
            if (exact := a.divided_by(b.constant)) is not None:
                return exact
        if not b.is_uniform:
            return self.operation("/", a, b)
        # (p / q) / b is p / (q * b): indices are not negative.
        if len(a.terms) == 1 and len(atoms := next(iter(a.terms))) == 1 and a.terms[atoms] == 1:
            inner = self._quotients.get(atoms[0])
            if inner is not None:
                return self.divide(inner[0], inner[1] * b)
        kind = max(a.kind, Kind.UNIFORM)
        quotient = self.opaque(("/", a, b), Kind.PIECEWISE if kind == Kind.THREAD else kind)
        self._quotients[next(iter(quotient.atoms))] = (a, b)
        return quotient

    def quotient(self, atom: Atom) -> tuple[Poly, Poly] | None:
        """What an atom is the quotient of."""
        return self._quotients.get(atom)

    def remainder(self, a: Poly, b: Poly) -> Poly:
        """`a % b`."""
        if a.constant is not None and b.constant:
            return Poly.of(a.constant - int(a.constant / b.constant) * b.constant)
        if not b.is_uniform or a.is_large:
            return self.operation("%", a, b)
        return a - b * self.divide(a, b)
