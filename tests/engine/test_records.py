"""Records against the dataclasses that they are to a type checker."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import NamedTuple

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


class Item(records.NamedTuple):
    name: str
    size: int = 1


class PeerItem(NamedTuple):
    name: str
    size: int = 1


@pytest.mark.parametrize("many", [1, 30], ids=["few", "many"])
@pytest.mark.parametrize(("given", "named"), CALLS)
def test_constructed_like_a_named_tuple(
    given: tuple[str, ...], named: dict[str, object], many: int
) -> None:
    for _ in range(many):
        try:
            peer = PeerItem(*given, **named)  # type: ignore[arg-type]
        except TypeError:
            with pytest.raises(TypeError):
                Item(*given, **named)  # type: ignore[arg-type]
        else:
            assert Item(*given, **named) == peer  # type: ignore[arg-type]


def test_items_of_a_tuple_stay_as_they_are() -> None:
    item = Item("a", 2)
    assert (item.name, item.size, item[0], [*item]) == ("a", 2, "a", ["a", 2])
    assert hash(item) == hash(("a", 2)) and item < Item("b")
    with pytest.raises(TypeError):
        item._replace(other=3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        item.size = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        item.more = 2  # type: ignore[attr-defined]


def test_many_records_are_as_the_first() -> None:
    values = [Value("a", kept={"x": 1}) for _ in range(30)]
    assert {value.size for value in values} == {1} and len(set(values)) == 1
    assert values[29].kept == {"x": 1} and Value("a").kept is not Value("a").kept
