"""What a module computes, found out by running its code on small random numbers.

The code runs on a twin with parameters of its own: nothing of the module is read or written, so its
weights may lie on the meta device, on a disk, or in a dtype that only a GPU has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# x̂ rounded before the weight, or after it, differ in a quarter of bfloat16 elements; float32 sums in
# another order in one of a thousand.
_MOST_UNEQUAL = 0.02


def twin(
    module: nn.Module,
    parameters: Mapping[str, Tensor | None],
    children: Mapping[str, nn.Module],
) -> nn.Module:
    """The same class and attributes, with other parameters and some other children."""
    other: nn.Module = object.__new__(type(module))
    other.__dict__.update(module.__dict__)
    other.__dict__.pop("forward", None)
    other.__dict__["_parameters"] = dict(parameters)
    other.__dict__["_modules"] = {**module._modules, **children}
    return other


def result(call: Callable[[], Any]) -> Any:
    """What `call` gives, None where it raises: then it is not what it was taken for."""
    generator = torch.get_rng_state()
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return call()
    except Exception:  # whatever foreign code raises on arguments that it was not made for
        return None
    finally:
        torch.set_rng_state(generator)


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """On the CPU and from a generator of its own, whatever the program has set as its defaults."""
    generator = torch.Generator("cpu").manual_seed(seed)
    wide = torch.randn(*shape, generator=generator, dtype=torch.float32, device="cpu")
    return wide.to(dtype)


def agree(ours: Any, theirs: Any) -> bool:
    """Whether both are tensors of one dtype and shape, equal but for the order of sums."""
    if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor):
        return False
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return False
    if ours.dtype == torch.float32:
        return torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    ulp = 2 * torch.finfo(ours.dtype).eps
    unequal = ours.ne(theirs).double().mean().item()
    return unequal <= _MOST_UNEQUAL and torch.allclose(ours, theirs, rtol=ulp, atol=1e-6)
