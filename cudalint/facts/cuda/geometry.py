"""Launches of a kernel in the file: whether their grid has a thread for every element."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.facts.cuda.affine import Poly
from cudalint.facts.cuda.fragments import expression
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from cudalint.facts.cuda.access import Geometry, Value
    from cudalint.facts.cuda.functions import Function
    from cudalint.facts.cuda.launches import Launch
    from cudalint.facts.cuda.values import Values

_DIVIDES = lazy_compile(r"(?i)/|>>|ceil|div|blocks\s*\(|grid\w*\s*\(")


def launches_of(kernel: Function) -> list[Launch]:
    """The launches of a kernel that the file shows."""
    return [one for one in kernel.facts.launches if one.kernel == kernel.name]


def covers(launch: Launch, kernel: Function, count: str) -> bool:
    """Whether a launch starts a thread for every one of `count` elements, an expression of the
    kernel's parameters."""
    known = _given(launch)
    if known is None or len(known[1].configuration) < 2:
        return False
    values, given = known
    names = [parameter.name for parameter in kernel.parameters]
    if len(given.arguments) != len(names):
        return False
    wanted = _in_host(values, count, dict(zip(names, given.arguments, strict=True)))
    grid, block = given.configuration[:2]
    if not all(isinstance(one, Poly) for one in (wanted, grid, block)):
        return False
    assert isinstance(wanted, Poly) and isinstance(grid, Poly) and isinstance(block, Poly)
    spare = (grid * block - wanted).constant
    if spare is not None and spare >= 0:
        return True
    for atom in grid.atoms:
        above = values.atoms.quotient(atom)
        if above is None or above[1] != block:
            continue
        rest = (grid - Poly.of(atom)).constant
        if rest is None or rest < 0:
            continue
        # ceil(a / b) * b >= n, where a >= n + b - 1; one block more allows a to be b less.
        missing = above[0] - wanted - block + Poly.of(1)
        if rest > 0:
            missing = missing + block
        if missing.constant is not None and missing.constant >= 0:
            return True
    return False


def is_divided(launch: Launch) -> bool:
    """Whether a grid is made from a number of elements, rather than fixed."""
    if launch.grid is None or launch.function is None:
        return False
    text = (launch.grid.text or b"").decode("utf-8", "replace")
    body = launch.function.text.decode("utf-8", "replace")
    for _ in range(3):
        if _DIVIDES.search(text) is not None:
            return True
        found = re.search(rf"\b{re.escape(text.split('.')[0])}\s*[=({{]\s*([^;]*);", body)
        if found is None:
            return False
        text = found.group(1).strip("(){} ")
    return False


def _given(launch: Launch) -> tuple[Values, Geometry] | None:
    function = launch.function
    if function is None or not function.is_whole:
        return None
    values = function.facts.values(function)
    given = values.geometry.get(launch.node.start_byte)
    return (values, given) if given is not None else None


def _in_host(values: Values, text: str, names: dict[str, Value]) -> Value | None:
    """The value of an expression with the kernel's parameters standing for what was passed."""
    node = expression(text)
    if node is None:
        return None
    outer, values.names = values.names, names
    try:
        return values.value(node)
    finally:
        values.names = outer
