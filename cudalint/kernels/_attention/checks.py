"""What `attention` refuses."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._attention.masks import Window
from cudalint.kernels._attention.reference import Options
from cudalint.kernels._checks import refuse_unless_floating, refuse_unless_same_device


def refuse_bad_arguments(query: Tensor, key: Tensor, value: Tensor, options: Options) -> None:
    _refuse_bad_operands(query, key, value)
    _refuse_bad_shapes(query, key, value, options.enable_gqa)
    _refuse_bad_numbers(options)
    scores = (*query.shape[:-1], key.shape[-2])
    _refuse_bad_mask("attn_mask", options.attn_mask, query, scores)
    _refuse_bad_mask("bias", options.bias, query, scores)
    if options.bias is not None and options.bias.dtype == torch.bool:
        raise ValueError("attention: bias has dtype torch.bool; accepted: floating, or attn_mask")
    _refuse_bad_heads("alibi_slopes", options.alibi_slopes, query, batched=True)
    _refuse_bad_heads("sinks", options.sinks, query, batched=False)


def _refuse_bad_operands(query: Tensor, key: Tensor, value: Tensor) -> None:
    refuse_unless_floating("attention", "query", query)
    for name, tensor in (("key", key), ("value", value)):
        refuse_unless_same_device("attention", name, tensor, query)
        if tensor.dtype != query.dtype:
            raise ValueError(
                f"attention: {name} has dtype {tensor.dtype}; accepted: query's, {query.dtype}"
            )
        if tensor.dim() != query.dim():
            raise ValueError(
                f"attention: {name} has {tensor.dim()} dimensions; accepted: as many as query, "
                f"{query.dim()}"
            )
    if query.dim() < 2:
        raise ValueError(f"attention: query has {query.dim()} dimensions; accepted: 2 or more")


def _refuse_bad_shapes(query: Tensor, key: Tensor, value: Tensor, gqa: bool) -> None:
    shapes = f"{tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"attention: query, key, value have shapes {shapes}; accepted: (..., H, Lq, D), "
            f"(..., Hk, Lk, D), (..., Hk, Lk, E)"
        )
    batch = -3 if gqa else -2
    if not query.shape[:batch] == key.shape[:batch] == value.shape[:batch]:
        raise ValueError(
            f"attention: query, key, value have shapes {shapes}; accepted: equal leading "
            f"dimensions{'' if gqa else ', or enable_gqa=True with fewer key heads'}"
        )
    if gqa:
        _refuse_bad_groups(query, key, value)


def _refuse_bad_groups(query: Tensor, key: Tensor, value: Tensor) -> None:
    if query.dim() < 3:
        raise ValueError("attention: enable_gqa needs query with a dimension of heads, 3 or more")
    heads, kv_heads = query.shape[-3], key.shape[-3]
    if kv_heads != value.shape[-3] or kv_heads == 0 or heads % kv_heads:
        raise ValueError(
            f"attention: {heads} query, {kv_heads} key and {value.shape[-3]} value heads; "
            f"accepted: as many value as key heads, and a multiple of them of query heads"
        )


def _refuse_bad_numbers(options: Options) -> None:
    refuse_bad_score_options("attention", options.scale, options.softcap, options.window)
    if not 0.0 <= options.dropout_p <= 1.0:
        raise ValueError(f"attention: dropout_p is {options.dropout_p}; accepted: 0 to 1")
    if options.causal_align not in ("top-left", "bottom-right"):
        raise ValueError(
            f"attention: causal_align is {options.causal_align!r}; accepted: 'top-left' or "
            f"'bottom-right'"
        )


def refuse_bad_score_options(
    function: str, scale: float | None, softcap: float | None, window: Window | None
) -> None:
    """Of every function of attention: what turns the products of q and k into scores."""
    if isinstance(scale, Tensor):
        raise ValueError(
            f"{function}: scale is a tensor; accepted: a number (multiply it into query)"
        )
    if softcap is not None and softcap <= 0:
        raise ValueError(f"{function}: softcap is {softcap}; accepted: None or above 0")
    if window is not None and (len(window) != 2 or min(window) < -1):
        raise ValueError(
            f"{function}: window is {window}; accepted: (left, right), each 0 or more, or -1 for "
            f"open"
        )


def _refuse_bad_mask(
    name: str, mask: Tensor | None, query: Tensor, scores: tuple[int, ...]
) -> None:
    if mask is None:
        return
    refuse_unless_same_device("attention", name, mask, query)
    if mask.dtype != torch.bool:
        refuse_unless_floating("attention", name, mask)
    pairs = zip(reversed(mask.shape), reversed(scores), strict=False)
    if mask.dim() > len(scores) or any(have != want and have != 1 for have, want in pairs):
        raise ValueError(
            f"attention: {name} has shape {tuple(mask.shape)}; accepted: what broadcasts to {scores}"
        )


def _refuse_bad_heads(name: str, per_head: Tensor | None, query: Tensor, batched: bool) -> None:
    if per_head is None:
        return
    refuse_unless_same_device("attention", name, per_head, query)
    refuse_unless_floating("attention", name, per_head)
    heads = tuple(query.shape[-3:-2])
    accepted = [heads, (*query.shape[:1], *heads)] if batched and query.dim() == 4 else [heads]
    if query.dim() < 3 or tuple(per_head.shape) not in accepted:
        raise ValueError(
            f"attention: {name} has shape {tuple(per_head.shape)}; accepted: "
            f"{' or '.join(str(shape) for shape in accepted)} for query {tuple(query.shape)}"
        )
