"""Classes of fields that cost little to define: most of a run on one file is defining things.

`record` is `dataclasses.dataclass`, but the methods are shared: `dataclasses` loads `inspect` and
compiles three or more of them with each class. `NamedTuple` is `typing.NamedTuple`, but annotations
are left alone, of which that one compiles each. Constructors are compiled for classes of which there
are many objects; most classes have few. To a type checker they are what they stand for, and they
mean the same.
"""

from __future__ import annotations

from collections import namedtuple
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["NamedTuple", "field", "record", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from dataclasses import field, replace
    from typing import NamedTuple
else:
    # To compile a constructor takes as long as to make twenty objects without it.
    _FEW = 10
    _made: dict[type, int] = {}
    _ABSENT = object()

    def _values(cls: Any, given: tuple[Any, ...], named: dict[str, Any]) -> list[Any] | None:
        """The fields of a new object; None where the compiled constructor is to see to it."""
        _made[cls] = count = _made.get(cls, 0) + 1
        names, values, left = cls.__match_args__, list(given), dict(named)
        if count > _FEW or len(values) > len(names):
            return None
        for name in names[len(values) :]:
            if name in left:
                values.append(left.pop(name))
            elif name in cls._factories:
                values.append(cls._factories[name]())
            elif name in cls._defaults:
                values.append(cls._defaults[name])
            else:
                return None
        return None if left else values

    def _compiled(cls: Any, head: str, body: list[str], **scope: Any) -> Any:
        """A constructor, whose parameters are the fields."""
        parameters = [head.partition("(")[2]]
        for name in cls.__match_args__:
            if name in cls._factories:
                scope[f"_new_{name}"] = cls._factories[name]
                parameters.append(f"{name}=_absent")
            elif name in cls._defaults:
                scope[f"_default_{name}"] = cls._defaults[name]
                parameters.append(f"{name}=_default_{name}")
            else:
                parameters.append(name)
        name = head.partition("(")[0]
        exec(f"def {name}({', '.join(parameters)}):\n " + "\n ".join(body), scope)
        return scope[name]

    # -- tuples -----------------------------------------------------------------------------------

    _SHARED = namedtuple("_SHARED", [f"item{at}" for at in range(32)])
    _ITEMS = [vars(_SHARED)[name] for name in _SHARED._fields]  # what gets an item of any tuple

    class _Tuples(type):
        """Makes a tuple with named items of a class that derives from `NamedTuple`."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
            if not bases:
                return super().__new__(cls, name, bases, body)
            items = tuple(body["__annotations__"])
            defaults = {item: body[item] for item in items if item in body}
            body.update(zip(items, _ITEMS[: len(items)], strict=True))
            body.update(_fields=items, __match_args__=items, __slots__=())
            body.update(_factories={}, _defaults=defaults)
            return type(name, (_Named,), body)

    class NamedTuple(metaclass=_Tuples):
        """A tuple with named items: those that the class annotates, in their order."""

    class _Named(tuple):
        """What tuples with named items share."""

        __slots__ = ()

        def __new__(cls, *given: Any, **named: Any) -> Any:
            values = _values(cls, given, named)
            if values is not None:
                return tuple.__new__(cls, values)
            made = f"return _make(_cls, ({', '.join(cls._fields)},))"
            cls.__new__ = _compiled(cls, "__new__(_cls", [made], _make=tuple.__new__)
            return cls(*given, **named)

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            fields = zip(self._fields, self, strict=True)
            return f"{type(self).__name__}({', '.join(f'{name}={it!r}' for name, it in fields)})"

        def _replace(self, **changes: Any) -> Any:
            """The same with some items changed."""
            return type(self)(**{**dict(zip(self._fields, self, strict=True)), **changes})

    # -- records ----------------------------------------------------------------------------------

    class _Field:
        """What is said of a field beside its type."""

        def __init__(self, default: Any, factory: Any, compare: bool) -> None:
            self.default, self.factory, self.compare = default, factory, compare

    def field(*, default: Any = _ABSENT, default_factory: Any = None, compare: bool = True) -> Any:
        """A field whose default is made for each object, or that is no part of what it equals."""
        return _Field(default, default_factory, compare)

    def record(cls: Any = None, *, eq: bool = True, frozen: bool = False) -> Any:
        """Make a class one of fields: those that it annotates, in their order."""
        if cls is None:
            return lambda cls: record(cls, eq=eq, frozen=frozen)
        names = cls.__match_args__ = tuple(cls.__annotations__)
        said = {name: it for name in names if isinstance(it := vars(cls).get(name), _Field)}
        for name, it in said.items():
            delattr(cls, name) if it.default is _ABSENT else setattr(cls, name, it.default)
        cls._factories = {name: it.factory for name, it in said.items() if it.factory}
        cls._defaults = {name: getattr(cls, name) for name in names if hasattr(cls, name)}
        cls._compared = tuple(name for name in names if name not in said or said[name].compare)
        cls._content = attrgetter(*cls._compared)
        cls.__init__, cls.__repr__ = _first, _repr
        if eq:
            cls.__eq__, cls.__hash__ = _eq, _hash if frozen else None
        if frozen:
            cls.__setattr__ = cls.__delattr__ = _refuse
        return cls

    def replace(old: Any, **changes: Any) -> Any:
        """The same with some fields changed."""
        return type(old)(**{**{name: getattr(old, name) for name in old.__match_args__}, **changes})

    def _first(self: Any, *given: Any, **named: Any) -> None:
        cls = type(self)
        values = _values(cls, given, named)
        if values is None:
            cls.__init__ = _constructor(cls)
            cls.__init__(self, *given, **named)
        else:
            for name, value in zip(cls.__match_args__, values, strict=True):
                object.__setattr__(self, name, value)

    def _constructor(cls: Any) -> Any:
        body, frozen = [], cls.__setattr__ is _refuse
        for name in cls.__match_args__:
            made = name
            if name in cls._factories:
                made = f"_new_{name}() if {name} is _absent else {name}"
            body.append(f"_put(self, {name!r}, {made})" if frozen else f"self.{name} = {made}")
        return _compiled(cls, "__init__(self", body, _put=object.__setattr__, _absent=_ABSENT)

    def _repr(self: Any) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._compared)
        return f"{type(self).__qualname__}({fields})"

    def _eq(self: Any, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._content(self) == other._content(other)

    def _hash(self: Any) -> int:
        return hash(self._content(self))

    def _refuse(self: Any, name: str, *_: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")
