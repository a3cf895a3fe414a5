"""Another `forward` for one instance of a module, and back."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

from torch import nn

Forward = Callable[..., Any]


class Swap(NamedTuple):
    """What was put in the place of what: the module's path, our function's name, the way back."""

    path: str
    kernel: str
    undo: Callable[[], None]


def own_forward(module: nn.Module) -> Forward | None:
    """The forward of the module's class, None where the instance has one that is not ours to know.

    accelerate's hooks, which bring offloaded weights, keep the class's as `_old_forward`.
    """
    own: Forward = type(module).forward
    place = _place(module)
    held = module.__dict__.get(place)
    if held is not None and getattr(held, "__func__", None) is not own:
        return None
    return own


def _place(module: nn.Module) -> str:
    return "_old_forward" if "_old_forward" in module.__dict__ else "forward"


def swap_forward(module: nn.Module, path: str, kernel: str, forward: Forward) -> Swap:
    """`forward` takes the module first: a bound method, so that a deep copy is bound to the copy."""
    ours = MethodType(forward, module)
    place = _place(module)
    before = module.__dict__.get(place)
    module.__dict__[place] = ours

    def undo() -> None:
        for place in ("forward", "_old_forward"):  # hooks that came later have moved it
            if getattr(module.__dict__.get(place), "__func__", None) is forward:
                _put_back(module, place, before)
                return
        raise RuntimeError(
            f"undo: the forward of {path!r} was replaced after patch; accepted: the last one to "
            f"replace it puts it back first"
        )

    return Swap(path, kernel, undo)


Namespace = dict[str, Any]
_FOLLOWERS: dict[int, list[Namespace]] = {}


def copy_namespace(namespace: Namespace, names: Namespace) -> Namespace:
    """A copy with other values for some names; what `assign` gives the original, it gets too."""
    # without __name__, by which torch.compile would look for the names in the real module
    copy = {name: value for name, value in namespace.items() if name != "__name__"} | names
    _FOLLOWERS.setdefault(id(namespace), []).append(copy)
    return copy


def is_copy(namespace: Namespace) -> bool:
    return "__name__" not in namespace


def assign(namespace: Namespace, name: str, value: object) -> None:
    for one in (namespace, *_FOLLOWERS.get(id(namespace), ())):
        one[name] = value


def _put_back(module: nn.Module, place: str, before: object) -> None:
    if before is not None:
        module.__dict__[place] = before
    elif place == "forward":
        del module.__dict__[place]
    else:
        module.__dict__[place] = MethodType(type(module).forward, module)
