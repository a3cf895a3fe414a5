"""Attention: transformers' registry of implementations, and diffusers' processors."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from cudalint.kernels._attention.function import attention
from cudalint.kernels._patch.swap import Swap, copy_namespace

NAME = "cudalint"
_GENERIC = ("sdpa", "eager")


def swaps(model: nn.Module) -> Iterator[Swap]:
    yield from _of_transformers(model)
    yield from _of_diffusers(model)


# transformers: a model reads the name of its attention from its configuration at each call


def _of_transformers(model: nn.Module) -> Iterator[Swap]:
    groups: dict[int, list[tuple[str, Any]]] = {}
    for path, module in model.named_modules():
        if hasattr(module, "_can_set_attn_implementation") and hasattr(module, "config"):
            groups.setdefault(id(module.config), []).append((path, module))
    for group in groups.values():
        path, first = group[0]
        if all(_is_generic(module) for _, module in group):
            _register()
            yield _swap_implementation(path, first.config)


def _is_generic(module: Any) -> bool:
    """Whether the model says that a function which knows nothing of it may be its attention."""
    if getattr(module.config, "_attn_implementation_internal", None) not in _GENERIC:
        return False
    supported = getattr(module, "_supports_sdpa", False) or getattr(
        module, "_supports_flex_attn", False
    )
    return bool(supported and module._can_set_attn_implementation())


def _swap_implementation(path: str, config: Any) -> Swap:
    before = config._attn_implementation_internal
    config._attn_implementation_internal = NAME

    def undo() -> None:
        if config._attn_implementation_internal == NAME:  # or the owner has chosen another since
            config._attn_implementation_internal = before

    return Swap(path, "attention", undo)


def _register() -> None:
    """Beside torch's: the same masks, bool and None where causal says it all."""
    transformers = sys.modules["transformers"]
    masks = sys.modules["transformers.masking_utils"].ALL_MASK_ATTENTION_FUNCTIONS
    transformers.AttentionInterface.register(NAME, transformers_attention)
    transformers.AttentionMaskInterface.register(NAME, masks["sdpa"])


def transformers_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Of an attention module of transformers: (batch, length, heads, width), and no weights.

    A sliding window comes in the mask.
    """
    if options.get("cache") is not None:
        raise NotImplementedError(
            "patch: paged generation hands attention its cache; accepted: generation with another "
            "cache, or attn_implementation='paged|eager'"
        )
    queries = query.shape[2]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = queries > 1 and attention_mask is None and bool(causal)
    if causal and key.shape[2] > queries and position_bias is None:
        key, value = key[:, :, :queries], value[:, :, :queries]  # an empty static cache behind
    out = attention(
        query, key, value, attention_mask, dropout, causal, scale=scaling, softcap=softcap,
        enable_gqa=query.shape[1] != key.shape[1], sinks=s_aux, bias=position_bias,
    )  # fmt: skip
    return out.transpose(1, 2).contiguous(), None


# diffusers: a processor's own code, with our attention where it calls torch's


def _of_diffusers(model: nn.Module) -> Iterator[Swap]:
    for path, module in model.named_modules():
        processor = module.__dict__.get("processor")
        if (kind := _our_kind(type(processor))) is not None:
            ours = copy.copy(processor)
            ours.__class__ = kind
            yield _swap_processor(path, module, ours)


_KINDS: dict[type, type | None] = {}


def _our_kind(kind: type) -> type | None:
    if kind not in _KINDS:
        _KINDS[kind] = _make_kind(kind)
    return _KINDS[kind]


def _make_kind(kind: type) -> type | None:
    """A subclass whose call runs the same code, with our attention; None where there is no use."""
    call = vars(kind).get("__call__")
    if not isinstance(call, FunctionType) or not (names := _replaced(call)):
        return None
    return type(kind.__name__, (kind,), {"__call__": _with_globals(call, names)})


def _replaced(call: FunctionType) -> dict[str, Any]:
    """The global names of `call` that lead to torch's attention, with what stands for them."""
    found: dict[str, Any] = {}
    used, known = call.__code__.co_names, call.__globals__
    if "scaled_dot_product_attention" in used and known.get("F") is F:
        found["F"] = _functional()
    dispatch = known.get("dispatch_attention_fn")
    if "dispatch_attention_fn" in used and getattr(dispatch, "__module__", __name__) != __name__:
        found["dispatch_attention_fn"] = _dispatch(dispatch)
    return found


def _functional() -> ModuleType:
    """torch.nn.functional, but for its attention."""
    module = ModuleType("torch.nn.functional")
    module.__dict__.update(F.__dict__)
    module.__dict__["scaled_dot_product_attention"] = attention
    return module


def _with_globals(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    ours = FunctionType(
        function.__code__,
        copy_namespace(function.__globals__, names),
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    ours.__kwdefaults__ = function.__kwdefaults__
    return ours


def _dispatch(theirs: Any) -> FunctionType:
    """diffusers' choice among its backends, ours where it would take torch's own."""

    def dispatch_attention_fn(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
        attention_kwargs: dict[str, Any] | None = None,
        *,
        backend: Any = None,
        parallel_config: Any = None,
    ) -> Any:
        if attention_kwargs or parallel_config is not None or not _is_native(theirs, backend):
            return theirs(
                query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa,
                attention_kwargs, backend=backend, parallel_config=parallel_config,
            )  # fmt: skip
        if attn_mask is not None and attn_mask.shape == (query.shape[0], key.shape[1]):
            attn_mask = attn_mask[:, None, None]  # padding, one row a sequence
        q, k, v = (t.transpose(1, 2) for t in (query, key, value))
        out = attention(
            q, k, v, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
        return out.transpose(1, 2)

    assert isinstance(dispatch_attention_fn, FunctionType)
    return dispatch_attention_fn


def _is_native(dispatch: Any, backend: Any) -> bool:
    if backend is None:
        registry = getattr(dispatch, "__globals__", {}).get("_AttentionBackendRegistry")
        backend = getattr(registry, "_active_backend", None)
    return bool(getattr(backend, "value", backend) == "native")


def _swap_processor(path: str, module: Any, ours: Any) -> Swap:
    theirs = module.processor
    module.processor = ours

    def undo() -> None:
        if module.processor is ours:  # or the owner has set another since
            module.processor = theirs

    return Swap(path, "attention", undo)
