"""Which functions may run every step, by names alone: no code that does is ever left out.

A loop runs steps where it holds a marker (`.backward(`, a loader, …) or calls a function that does.
What is called from such a loop's function, from a hook or from a whole step runs every step too.
That is enough for the sieve; where files are parsed, `Stepping` tells loops apart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache, cached_property

from ahocorasick_rs import BytesAhoCorasick, Implementation

from cudalint.bases import Bases
from cudalint.definitions import Function, functions
from cudalint.hooks import headers, is_hook, is_step
from cudalint.occurrences import PART, Occurrences, Vocabulary, Word
from cudalint.registry import DECODES, HANDED_ON, HOT, LOOPS, MARKERS, WHOLE_STEP
from cudalint.stepping import MODULE, Stepping, closure

_OUTSIDE = [MODULE]


@cache
def _vocabulary() -> Vocabulary:
    return Vocabulary(word for group in HOT for word in group)


class Reach:
    """The functions of one text that hot code reaches."""

    def __init__(self, found: Occurrences, hot_functions: Iterable[str]) -> None:
        self.text, self.found = found.text, found
        self.hot_functions = frozenset(hot_functions)

    @cached_property
    def functions(self) -> list[Function]:
        return functions(self.text)

    @cached_property
    def _starts(self) -> list[int]:
        return [function.start for function in self.functions]

    @classmethod
    def of(cls, text: bytes, hot_functions: Iterable[str]) -> Reach:
        """The reach of a Python text that nothing else is sought in."""
        return cls(Occurrences(text, _vocabulary(), "python"), hot_functions)

    def runs(self, place: int) -> bool:
        """Whether the code at a place may run every step."""
        reached = self._reached
        return bool(reached) and any(number in reached for number in self.holders(place))

    @property
    def any(self) -> bool:
        """Whether anything may run every step."""
        return bool(self._reached)

    @cached_property
    def ranges(self) -> tuple[int, ...]:
        """Where the code that may run every step begins and ends, in turn: a place in it `is_within`.

        Loop by loop, which is less than what `runs`.
        """
        return Stepping(self).ranges() if self.any else ()

    def outside(self) -> list[tuple[int, int]]:
        """The code that stands in no function."""
        at, found = 0, []
        for chain, (start, end, _, _) in zip(self._chains, self.functions, strict=True):
            if len(chain) == 1:
                found.append((at, start))
                at = end
        return [*found, (at, len(self.text))]

    # -- who holds, and who calls ---------------------------------------------------------------

    def holders(self, place: int) -> list[int]:
        """The functions around a place, by number, innermost first; `MODULE` where there is none."""
        number = bisect_right(self._starts, place) - 1
        while number != MODULE and self.functions[number].end <= place:
            number = self._outer(number)
        return _OUTSIDE if number == MODULE else self._chains[number]

    def _outer(self, number: int) -> int:
        """The function around a function."""
        chain = self._chains[number]
        return chain[1] if len(chain) > 1 else MODULE

    @cached_property
    def _chains(self) -> list[list[int]]:
        """Each function with those around it, innermost first."""
        chains: list[list[int]] = []
        for number, function in enumerate(self.functions):
            around = number - 1
            while around != MODULE and self.functions[around].end <= function.start:
                around = chains[around][1] if len(chains[around]) > 1 else MODULE
            chains.append([number] if around == MODULE else [number, *chains[around]])
        return chains

    @cached_property
    def named(self) -> dict[bytes, list[int]]:
        """Functions by the name that calls them."""
        named = defaultdict(list)
        for number in range(len(self.functions)):
            named[self.call_name(number)].append(number)
        return named

    def call_name(self, number: int) -> bytes:
        """By which name a function is called: a class's for `__init__`."""
        _, _, name, holder = self.functions[number]
        return holder if holder and name == b"__init__" else name

    @cached_property
    def uses(self) -> list[tuple[int, bytes]]:
        """Where the names of functions are called or handed on, in order: for all names at once."""
        names = sorted(name for name in self.named if name)
        if not names:
            return []
        text, found = self.text, []
        # made in a fifth of the time of the default, and asked once
        seeker = BytesAhoCorasick(names, implementation=Implementation.ContiguousNFA)
        for index, start, end in seeker.find_matches_as_indexes(text, overlapping=True):
            if (start == 0 or text[start - 1] not in PART) and _is_used(text, end):
                found.append((start, names[index]))
        return sorted(found)

    @cached_property
    def sites(self) -> dict[bytes, list[int]]:
        """Where each name is called or handed on."""
        sites = defaultdict(list)
        for place, name in self.uses:
            sites[name].append(place)
        return sites

    def _called(self, number: int) -> Iterator[int]:
        """The functions that the code of a function, or of the module, names."""
        low, high = 0, len(self.uses)
        if number != MODULE:
            start, end, _, _ = self.functions[number]
            low, high = (bisect_left(self.uses, (at, b"")) for at in (start, end))
        for place, name in self.uses[low:high]:
            if number != MODULE or MODULE in self.holders(place):
                yield from self.named[name]

    # -- steps ----------------------------------------------------------------------------------

    @cached_property
    def _marked(self) -> set[int]:
        """The functions that hold a marker, or call one that does."""
        places = [*self.places(MARKERS), *self.decoding()]
        return closure((n for place in places for n in self.around(place)), self._callers)

    def _callers(self, number: int) -> Iterator[int]:
        for place in () if number == MODULE else self.sites[self.call_name(number)]:
            yield from self.holders(place)

    def places(self, group: Iterable[Word]) -> list[int]:
        return [place for word in group for place in self.found.of(word)]

    def decoding(self) -> Iterator[int]:
        """Where a token is chosen, in functions that append it."""
        chosen, appended = DECODES
        for place in self.places(chosen):
            if any(self.holds(number, appended) for number in self.holders(place)):
                yield place

    def holds(self, number: int, group: Iterable[Word]) -> bool:
        """Whether the code of a function, or of the module, holds a word of a group."""
        if number == MODULE:
            return any(MODULE in self.holders(place) for place in self.places(group))
        start, end, _, _ = self.functions[number]
        return any(self.found.within(word, start, end) for word in group)

    def around(self, place: int) -> list[int]:
        """The functions around a place; a decorator stands in the function that follows."""
        row = self.text.rfind(b"\n", 0, place) + 1
        if not self.text[row : place + 1].lstrip().startswith(b"@"):
            return self.holders(place)
        following = bisect_left(self._starts, place)
        return [following, *self.holders(place)] if following < len(self._starts) else [MODULE]

    @cached_property
    def _reached(self) -> set[int]:
        if not self._may_run:
            return set()
        reached = {number for number in self._marked if self._repeats(number)}
        reached |= {n for place in self.places(HANDED_ON) for n in self.holders(place)}
        reached |= set(self.called_every_step())
        return closure(reached, self._called)

    @property
    def _may_run(self) -> bool:
        """Whether there is anything at all that code could run every step by."""
        found = self.found
        return (
            found.may_hold(MARKERS)
            or found.may_hold(HANDED_ON)
            or all(map(found.may_hold, DECODES))
            or headers(self.hot_functions).search(self.text) is not None
        )

    def _repeats(self, number: int) -> bool:
        """Whether a function holds a loop, or is a whole step of its own."""
        return self.holds(number, LOOPS) or all(self.holds(number, g) for g in WHOLE_STEP)

    def called_every_step(self) -> Iterator[int]:
        """The functions that somebody else calls once a step."""
        found = (match.start() for match in headers(self.hot_functions).finditer(self.text))
        for place in self.found.in_code(found):
            number = bisect_right(self._starts, place) - 1
            if number != MODULE and self._is_called_every_step(number):
                yield number

    def _is_called_every_step(self, number: int) -> bool:
        _, _, name, holder = self.functions[number]
        text = name.decode("utf-8", "replace")
        if text == "forward":
            return holder is not None and self.bases.may_derive(holder)
        return text in self.hot_functions or is_hook(text) or is_step(text)

    @cached_property
    def bases(self) -> Bases:
        return Bases(self.text)


def is_within(ranges: tuple[int, ...], place: int) -> bool:
    """Whether a place lies in one of some ranges: where each begins and ends, in turn."""
    return bisect_right(ranges, place) % 2 == 1


def _is_used(text: bytes, end: int) -> bool:
    """Whether a name that ends here is called or handed on: `f(`, `f,`, `f)`."""
    return text[end : end + 80].lstrip()[:1] in (b"(", b",", b")")
