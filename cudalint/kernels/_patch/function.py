"""The public function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from torch import nn

from cudalint.kernels._patch import attention, glu, norms, rope
from cudalint.kernels._patch.swap import Swap

_FAMILIES: dict[str, Callable[[nn.Module], Iterator[Swap]]] = {
    "norms": norms.swaps,
    "glu": glu.swaps,
    "attention": attention.swaps,
    "rope": rope.swaps,
}
_DEFAULT = ("norms", "glu", "attention")


class Patched:
    """What `patch` did, and the way back; as a context manager, until the end of the block.

    ``swapped`` holds pairs: the path of a module in the model (of a function: its dotted name) and
    the name of our function that runs there now.
    """

    def __init__(self, swaps: list[Swap]) -> None:
        self._swaps = swaps
        self.swapped = tuple((swap.path, swap.kernel) for swap in swaps)

    def undo(self) -> None:
        """Puts back what was there; a second call does nothing."""
        while self._swaps:
            self._swaps.pop().undo()

    def __enter__(self) -> Patched:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()

    def __repr__(self) -> str:
        counts = Counter(kernel for _, kernel in self.swapped)
        what = ", ".join(f"{count} {kernel}" for kernel, count in sorted(counts.items()))
        return f"<patched: {what or 'nothing'}>"


def patch(model: nn.Module, kernels: Iterable[str] = _DEFAULT) -> Patched:
    """Puts this library's functions into a live transformers or diffusers model, undoably.

    `kernels` names families:

    - ``"norms"``: RMS norms of any cast and offset, and layer norms, by `rms_norm` and
      `layer_norm`, in each module that has one;
    - ``"glu"``: gated units of MLPs, GEGLU and SwiGLU modules, by `swiglu`, `geglu` and their
      packed forms;
    - ``"attention"``: by `attention`, through transformers' registry of attention implementations
      (of models that run "sdpa" or "eager"; no attention weights are returned), and in diffusers'
      processors where they call torch's;
    - ``"rope"``: by `apply_rope` and `rope`. Only when asked for: the function belongs to the
      modelling module, so every model of that module gets it, until the last `undo`.

    A module is known by its class's name and by what its code computes, tried on small random
    numbers; dtypes in which ours was not seen to be equal run the module's own code. So weights may
    be None, on the meta device or quantized, and no attribute of a module is relied on. Parameters,
    state dicts and hooks stay as they are; patch before offloading or after it. A module whose
    forward somebody else has replaced is left alone.

    Shapes, dtypes (float64 runs the modules' own norms) and gradients are those of the functions.
    Results differ from the model's own by rounding, and after `undo` not at all.
    Runs: each function as its `kernel_info` says. Compiled: patch first, then torch.compile.
    Raises ValueError for an unknown family, or a model that is no module.
    """
    if not hasattr(model, "named_modules"):
        raise ValueError(
            f"patch: model is a {type(model).__name__}; accepted: a torch module (of a pipeline: "
            f"each of its models)"
        )
    families = (kernels,) if isinstance(kernels, str) else tuple(kernels)
    for family in families:
        if family not in _FAMILIES:
            raise ValueError(
                f"patch: kernels names {family!r}; accepted: {', '.join(map(repr, _FAMILIES))}"
            )
    swaps: list[Swap] = []
    for family, find in _FAMILIES.items():
        if family in families:
            swaps.extend(find(model))
    return Patched(swaps)
