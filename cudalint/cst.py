"""LibCST, whose import takes two fifths less time this way.

Most of that time makes dataclasses of 173 kinds of nodes, method by method. Two of the methods made
are dropped at once, as each kind has its own, and two refuse assignments. While LibCST is imported,
its nodes are made without the four; but for these refusals, on which nothing builds, they are the
same. `import libcst`, instructions counted: 0.92 thousand million, so 0.54 (Python 3.11).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

__all__ = ["libcst", "metadata"]

_OWN = frozenset({"__repr__", "__eq__", "__hash__"})


@contextmanager
def _quick_nodes() -> Iterator[None]:
    """Dataclasses that bring what these methods do, and are LibCST's, are made without them."""
    import dataclasses

    thorough: Any = dataclasses.dataclass
    made: list[Any] = []

    def quick(cls: Any = None, /, **how: Any) -> Any:
        if cls is None:
            return lambda cls: quick(cls, **how)
        if cls.__module__.startswith("libcst.") and vars(cls).keys() >= _OWN:
            made.append(thorough(cls, **{**how, "repr": False, "eq": False, "frozen": False}))
            return made[-1]
        return thorough(cls, **how)

    dataclasses.dataclass = quick
    try:
        yield
    finally:
        dataclasses.dataclass = thorough
        for kind in made:  # frozen classes derive from frozen ones only
            kind.__dataclass_params__.frozen = True


if TYPE_CHECKING or "libcst" in sys.modules:
    import libcst
    from libcst import metadata
else:
    with _quick_nodes():
        import libcst
        from libcst import metadata
