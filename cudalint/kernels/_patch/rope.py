"""Rotary embeddings: a function of the modelling module, which all its models share."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cudalint.kernels._patch import probe
from cudalint.kernels._patch.swap import Namespace, Swap, assign, is_copy
from cudalint.kernels._rope.function import apply_rope, rope

Function = Callable[..., Any]
_EMBEDDINGS = "diffusers.models.embeddings"


class _Held(NamedTuple):
    """A function that was replaced, where, and how many patches want it so."""

    theirs: Function
    namespace: Namespace
    patches: int


_HELD: dict[tuple[int, str], _Held] = {}


def swaps(model: nn.Module) -> Iterator[Swap]:
    """One for each namespace that the model's code reads the function from, not for each layer."""
    for namespace, name in _uses(model):
        held = _HELD.get((id(namespace), name))
        theirs = held.theirs if held else namespace.get(name)
        if not callable(theirs):
            continue
        for replacement, check in _NAMES[name]:
            ours = replacement(theirs)
            if check(ours, theirs):
                yield _swap(namespace, name, ours, theirs)
                break


def _uses(model: nn.Module) -> list[tuple[Namespace, str]]:
    found: dict[tuple[int, str], tuple[Namespace, str]] = {}
    for function in _functions(model):
        code = function.__code__
        for name in _NAMES:
            if name not in code.co_names or is_copy(function.__globals__):
                continue
            namespace = function.__globals__
            if name in code.co_varnames or name in code.co_cellvars:  # imported when it is called
                if _EMBEDDINGS not in sys.modules:
                    continue
                namespace = vars(sys.modules[_EMBEDDINGS])
            found[id(namespace), name] = namespace, name
    return list(found.values())


def _functions(model: nn.Module) -> Iterator[FunctionType]:
    """The methods of the model's modules, and of their processors."""
    kinds: dict[type, None] = {}
    for module in model.modules():
        for owner in (module, module.__dict__.get("processor")):
            kinds.update(dict.fromkeys(type(owner).__mro__))
    for kind in kinds:
        if kind.__module__.partition(".")[0] in ("torch", "builtins"):
            continue
        for value in vars(kind).values():
            if isinstance(value, FunctionType) and isinstance(
                function := inspect.unwrap(value), FunctionType
            ):
                yield function


def _swap(namespace: Namespace, name: str, ours: Function, theirs: Function) -> Swap:
    key = id(namespace), name
    held = _HELD.get(key, _Held(theirs, namespace, 0))
    _HELD[key] = held._replace(patches=held.patches + 1)
    if not held.patches:
        assign(namespace, name, ours)

    def undo() -> None:
        held = _HELD.pop(key)
        if held.patches > 1:
            _HELD[key] = held._replace(patches=held.patches - 1)
        else:
            assign(held.namespace, name, held.theirs)

    return Swap(f"{theirs.__module__}.{name}", "apply_rope" if "pos" in name else "rope", undo)


# transformers: apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=1)


def _of_transformers(layout: Any) -> Callable[[Function], Function]:
    def replacement(theirs: Function) -> Function:
        def apply_rotary_pos_emb(
            q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *args: Any, **options: Any
        ) -> Any:
            if args or options.keys() - {"unsqueeze_dim"}:
                return theirs(q, k, cos, sin, *args, **options)
            at = options.get("unsqueeze_dim", 1)
            return apply_rope(q, k, cos.unsqueeze(at), sin.unsqueeze(at), layout=layout)

        return apply_rotary_pos_emb

    return replacement


def _equal_pairs(ours: Function, theirs: Function) -> bool:
    q, k = probe.normal(2, 3, 5, 8), probe.normal(2, 1, 5, 8, seed=1)
    tables = probe.normal(2, 5, 8, seed=2), probe.normal(2, 5, 8, seed=3)
    turned = [t.transpose(1, 2) for t in (q, k)]
    return all(
        _equal_results(ours, theirs, *operands, *tables, **options)
        for operands, options in (((q, k), {}), (turned, {"unsqueeze_dim": 2}))
    )


def _equal_results(ours: Function, theirs: Function, *arguments: Any, **options: Any) -> bool:
    pairs = [probe.result(partial(f, *arguments, **options)) for f in (ours, theirs)]
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        return False
    return all(probe.agree(a, b) for a, b in zip(*pairs, strict=True))


# diffusers: apply_rotary_emb(x, (cos, sin)), x (batch, length, width), as in its LTX


def _of_packed_heads(theirs: Function) -> Function:
    def apply_rotary_emb(x: Tensor, freqs: Any, *args: Any, **options: Any) -> Any:
        if args or options or x.dim() != 3:
            return theirs(x, freqs, *args, **options)
        cos, sin = freqs
        return rope(x, cos, sin, layout="interleaved", dtype=x.dtype)

    return apply_rotary_emb


def _equal_packed_heads(ours: Function, theirs: Function) -> bool:
    tables = probe.normal(2, 5, 8, seed=2), probe.normal(2, 5, 8, seed=3)
    for dtype in (torch.float32, torch.bfloat16):
        x = probe.normal(2, 5, 8, dtype=dtype)
        results = [probe.result(partial(f, x, tables)) for f in (ours, theirs)]
        if not probe.agree(*results):
            return False
    return True


# diffusers.models.embeddings: x (batch, heads, length, width) or (batch, length, heads, width)


def _of_embeddings(theirs: Function) -> Function:
    def apply_rotary_emb(
        x: Tensor,
        freqs_cis: Any,
        use_real: bool = True,
        use_real_unbind_dim: int = -1,
        sequence_dim: int = 2,
    ) -> Any:
        known = use_real and use_real_unbind_dim in (-1, -2) and sequence_dim in (1, 2)
        if not known or x.dim() != 4:
            return theirs(x, freqs_cis, use_real, use_real_unbind_dim, sequence_dim)
        cos, sin = ((t if sequence_dim == 2 else t[:, None]).to(x.device)[None] for t in freqs_cis)
        layout: Any = "interleaved" if use_real_unbind_dim == -1 else "half"
        return rope(x, cos, sin, layout=layout, dtype=x.dtype)

    return apply_rotary_emb


def _equal_embeddings(ours: Function, theirs: Function) -> bool:
    tables = probe.normal(5, 8, seed=2), probe.normal(5, 8, seed=3)
    for dim in (1, 2):
        for unbind in (-1, -2):
            shape = (2, 3, 5, 8) if dim == 2 else (2, 5, 3, 8)
            x = probe.normal(*shape, dtype=torch.bfloat16)
            options = {"use_real_unbind_dim": unbind, "sequence_dim": dim}
            results = [probe.result(partial(f, x, tables, **options)) for f in (ours, theirs)]
            if not probe.agree(*results):
                return False
    return True


_Check = Callable[[Function, Function], bool]
_NAMES: dict[str, tuple[tuple[Callable[[Function], Function], _Check], ...]] = {
    "apply_rotary_pos_emb": (
        (_of_transformers("half"), _equal_pairs),
        (_of_transformers("interleaved"), _equal_pairs),
    ),
    "apply_rotary_emb": (
        (_of_packed_heads, _equal_packed_heads),
        (_of_embeddings, _equal_embeddings),
    ),
}
