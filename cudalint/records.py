"""Classes of fields that cost little to define: most of a run on one file is defining things.

`record` is `dataclasses.dataclass`, but a constructor is compiled when the first object is made, and
the other methods are shared: `dataclasses` loads `inspect` and compiles three or more methods with
each class. `NamedTuple` is `typing.NamedTuple`, but annotations are left alone, of which that one
compiles each. To a type checker they are what they stand for, and they mean the same.
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

    class _Tuples(type):
        """Makes a tuple with named items of a class that derives from `NamedTuple`."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
            if not bases:
                return super().__new__(cls, name, bases, body)
            items = tuple(body["__annotations__"])
            defaults = [body.pop(item) for item in items if item in body]
            made = namedtuple(name, items, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Tuples):
        """A tuple with named items: those that the class annotates, in their order."""

    _ABSENT = object()

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
        cls.__init__ = _constructor(cls)
        cls.__init__(self, *given, **named)

    def _constructor(cls: Any) -> Any:
        scope = {"_put": object.__setattr__, "_absent": _ABSENT}
        parameters, body = ["self"], []
        for name in cls.__match_args__:
            value = name
            if name in cls._factories:
                scope[f"_new_{name}"] = cls._factories[name]
                value = f"_new_{name}() if {name} is _absent else {name}"
                parameters.append(f"{name}=_absent")
            elif hasattr(cls, name):
                scope[f"_default_{name}"] = getattr(cls, name)
                parameters.append(f"{name}=_default_{name}")
            else:
                parameters.append(name)
            frozen = cls.__setattr__ is _refuse
            body.append(f"_put(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
        exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(body), scope)
        return scope["__init__"]

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
