"""Which code may run every step, loop by loop: less than functions tell (`Reach`), and all there is.

A loop runs steps where it holds a marker (`.backward(`, a loader, …) or calls a function that holds
one outside of its own loops. What is called from such a loop, from a hook or from a whole step runs
every step too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.loops import Loop, Loops
from cudalint.registry import HANDED_ON, LOADERS, LOOPS, TRAINS, WHOLE_STEP, WITHOUT_GRAD

if TYPE_CHECKING:
    from cudalint.reach import Reach

MODULE = -1  # the number of the code that stands in no function


class Stepping:
    """The loops of one text that may run steps, and the functions that they reach."""

    def __init__(self, reach: Reach) -> None:
        self.text, self.reach = reach.text, reach
        self._loops: set[Loop] = set()
        self._seen: set[int] = set()  # calls that were marked
        self._meant: dict[tuple[bytes, bool, bool], list[int]] = {}

    def ranges(self) -> tuple[int, ...]:
        """Where the code that may run every step begins and ends, in turn."""
        functions, reached = self.reach.functions, self._reached(self._marked())
        found = [(loop.start, loop.end) for loop in self._loops]
        if MODULE in reached:
            found += self.reach.outside()
        found += (functions[number][:2] for number in reached - {MODULE})
        return _joined(found)

    # -- loops of steps -------------------------------------------------------------------------

    def _marked(self) -> set[int]:
        """The functions that hold a marker outside of their loops; loops that hold one are noted.

        Without gradients, and where tokens are chosen, what is a marker is not known by its name: any
        loop of the function may hold it.
        """
        reach = self.reach
        todo = [n for place in reach.places(TRAINS) for n in self._mark(place)]
        vague = (*reach.places(WITHOUT_GRAD), *reach.places(LOADERS), *reach.decoding())
        wide = {number for place in vague for number in reach.around(place)}
        todo += wide
        marked: set[int] = set()
        while todo:
            number = todo.pop()
            if number not in marked:
                marked.add(number)
                todo += self._mark_callers(number)
        for loop in self._every.all if wide else ():
            if not wide.isdisjoint(reach.holders(loop.start)):
                self._loops.add(loop)
        return marked

    def _mark(self, place: int) -> list[int]:
        """Note the loop around a marker; the functions around it, where no loop stands between."""
        holders = self.reach.around(place)
        start = 0 if holders[0] == MODULE else self.reach.functions[holders[0]].start
        for loop in self._every.around(place):
            self._loops.add(loop)
            # Where a function ends is not known for certain: a loop around it may be its caller's.
            if loop.start >= start and not loop.parts:
                return []
        return holders

    def _mark_callers(self, number: int) -> Iterator[int]:
        """The functions that call one which holds a marker, outside of their loops."""
        name = b"generate" if number == MODULE else self.reach.call_name(number)
        if name != b"generate":  # which is many steps
            for place in self.reach.sites[name]:
                if place not in self._seen and number in self._meant_by(place, name):
                    self._seen.add(place)
                    yield from self._mark(place)

    @cached_property
    def _every(self) -> Loops:
        return Loops(self.text, sorted(self.reach.places(LOOPS)))

    # -- what they reach ------------------------------------------------------------------------

    def _reached(self, marked: set[int]) -> set[int]:
        """The functions that may run every step."""
        reach = self.reach
        reached = {n for n in marked if all(reach.holds(n, group) for group in WHOLE_STEP)}
        loading = {n for place in reach.places(LOADERS) for n in reach.around(place)}
        reached |= {n for n in loading if reach.holds(n, LOOPS)}
        reached |= {n for place in reach.places(HANDED_ON) for n in reach.holders(place)}
        reached |= set(self._called_every_step())
        reached |= {n for loop in self._loops for n in self._named_in(loop.start, loop.end)}
        return closure(reached, self._called)

    def _called(self, number: int) -> Iterator[int]:
        """The functions that the code of a function, or of the module, names."""
        is_module = number == MODULE
        bounds = (0, len(self.text)) if is_module else self.reach.functions[number][:2]
        return self._named_in(*bounds, only=is_module)

    def _called_every_step(self) -> Iterator[int]:
        """The functions that somebody else calls once a step, `forward` of what may be a module."""
        for number in self.reach.called_every_step():
            _, _, name, holder = self.reach.functions[number]
            chosen = name != b"forward" or "forward" in self.reach.hot_functions
            if chosen or (holder is not None and self.reach.bases.may_be_module(holder)):
                yield number

    def _named_in(self, start: int, end: int, only: bool = False) -> Iterator[int]:
        """The functions that a range of code names; `only`: where no function stands around."""
        uses = self.reach.uses
        low, high = bisect_left(uses, (start, b"")), bisect_left(uses, (end, b""))
        for place, name in uses[low:high]:
            if not only or MODULE in self.reach.holders(place):
                yield from self._meant_by(place, name)

    def _meant_by(self, place: int, name: bytes) -> list[int]:
        """The functions that a name may mean where it stands."""
        end = place + len(name)
        is_attribute = self.text[max(0, place - 80) : place].rstrip()[-1:] == b"."
        is_called = self.text[end : end + 80].lstrip()[:1] == b"("
        key = name, is_attribute, is_called
        if (known := self._meant.get(key)) is None:
            named = self.reach.named[name]
            known = [n for n in named if self._fits(n, is_attribute, is_called)]
            self._meant[key] = known
        return known

    def _fits(self, number: int, is_attribute: bool, is_called: bool) -> bool:
        """Whether a use may mean a function: a method is called behind a dot, and nothing else is."""
        function = self.reach.functions[number]
        if function.holder is None:
            return not is_attribute
        if function.name == b"__init__":
            return is_called
        in_function = self.reach.holders(function.start) != [number]  # of a method, or its class is
        return in_function or (is_attribute and is_called)


def closure(numbers: Iterable[int], following: Callable[[int], Iterable[int]]) -> set[int]:
    """Some functions with all that follow from them."""
    found = set(numbers)
    todo = list(found)
    while todo:
        new = set(following(todo.pop())) - found
        found |= new
        todo += new
    return found


def _joined(ranges: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """Ranges as one run of bounds: those that touch are one."""
    bounds: list[int] = []
    for start, end in sorted(ranges):
        if bounds and start <= bounds[-1]:
            bounds[-1] = max(bounds[-1], end)
        elif start < end:
            bounds += (start, end)
    return tuple(bounds)
