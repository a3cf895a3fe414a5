"""Records against the dataclasses that they are to a type checker."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import pytest

from cudalint import records


@records.record(frozen=True)
class Value:
    """At the top of a module, as pickle wants it."""

    name: str
    size: int = 1
    kept: dict[str, int] = records.field(default_factory=dict, compare=False)
    more: object = records.field(default=None, compare=False)


@dataclass(frozen=True)
class Peer:
    name: str
    size: int = 1
    kept: dict[str, int] = dataclass_field(default_factory=dict, compare=False)
    more: object = dataclass_field(default=None, compare=False)


@records.record(eq=False)
class Open:
    name: str
    found: list[str] = records.field(default_factory=list)


CALLS = [
    ((), {}),
    (("a",), {}),
    (("a", 2), {}),
    (("a",), {"size": 2, "kept": {"x": 1}, "more": 3}),
    ((), {"size": 2, "name": "a"}),
    (("a",), {"name": "b"}),
    (("a",), {"other": 1}),
    (("a", 1, {}, None, 5), {}),
]


@pytest.mark.parametrize(("given", "named"), CALLS)
def test_constructed_like_a_dataclass(given: tuple[str, ...], named: dict[str, object]) -> None:
    try:
        peer = Peer(*given, **named)  # type: ignore[arg-type]
    except TypeError as error:
        with pytest.raises(TypeError, match=str(error).split("()")[-1]):
            Value(*given, **named)  # type: ignore[arg-type]
        return
    assert vars(Value(*given, **named)) == vars(peer)  # type: ignore[arg-type]


def test_a_value_equals_by_what_counts() -> None:
    one, other = Value("a", kept={"x": 1}), Value("a", more=2)
    assert one == other and hash(one) == hash(other)
    assert one != Value("b") and one != Peer("a") and one != Value("a", 2)
    assert repr(one) == "Value(name='a', size=1)"
    assert one.kept is not Value("a").kept


def test_a_value_stays_as_it_is() -> None:
    value = Value("a")
    with pytest.raises(AttributeError):
        value.size = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del value.size
    assert vars(records.replace(value, size=2)) == vars(Value("a", 2))
    assert pickle.loads(pickle.dumps(value)) == value


def test_without_equality_every_object_is_itself() -> None:
    one, other = Open("a"), Open("a")
    assert one != other and len({one, other}) == 2
    one.found.append("x")
    one.name = "b"
    assert (one.name, other.name, other.found) == ("b", "a", [])


def test_records_match_by_place() -> None:
    match Value("a", 2):
        case Value(name, size):
            assert (name, size) == ("a", 2)


class Pair(records.NamedTuple):
    """A tuple of our own making."""

    left: int
    right: str = "b"

    @property
    def both(self) -> str:
        return f"{self.left}{self.right}"


def test_a_named_tuple_is_one() -> None:
    pair = Pair(1)
    assert pair == (1, "b") and pair.both == "1b" and repr(pair) == "Pair(left=1, right='b')"
    assert pair._replace(left=2) == Pair(2, "b") and Pair._fields == ("left", "right")
    assert pickle.loads(pickle.dumps(pair)) == pair and type(pair) is Pair
    assert Pair.__doc__ == "A tuple of our own making."
    with pytest.raises(TypeError):
        Pair()  # type: ignore[call-arg]
