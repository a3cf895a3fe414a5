"""What the decoding functions and the caches refuse."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._checks import refuse_unless_floating, refuse_unless_same_device
from cudalint.kernels._dispatch import needs_gradient

_INTEGERS = (torch.int32, torch.int64)


def refuse_bad_operands(function: str, q: Tensor, **caches: Tensor) -> None:
    """q (B, H, T, D) and the two caches or pools of pages, each with four dimensions."""
    refuse_unless_floating(function, "q", q)
    for name, tensor in caches.items():
        refuse_unless_same_device(function, name, tensor, q)
        if tensor.dtype != q.dtype:
            raise ValueError(
                f"{function}: {name} has dtype {tensor.dtype}; accepted: q's, {q.dtype}"
            )
    k, v = caches.values()
    if needs_gradient(q, k, v):
        raise ValueError(
            f"{function}: an argument requires a gradient; accepted: none that does, or a call "
            f"under torch.no_grad() (there is no backward)"
        )
    fits = q.dim() == k.dim() == v.dim() == 4 and k.shape[:3] == v.shape[:3]
    if not fits or q.shape[3] != k.shape[3] or not k.shape[1] or q.shape[1] % k.shape[1]:
        shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in (("q", q), *caches.items()))
        raise ValueError(
            f"{function}: shapes are {shapes}; accepted: q (B, H, T, D), keys (·, Hk, ·, D) and "
            f"values (·, Hk, ·, E), H a multiple of Hk"
        )


def refuse_bad_lengths(function: str, lengths: Tensor, q: Tensor) -> None:
    if isinstance(lengths, Tensor) and lengths.dtype in _INTEGERS:
        refuse_unless_same_device(function, "lengths", lengths, q)
        if tuple(lengths.shape) == (q.shape[0],):
            return
    what = (
        f"of shape {tuple(lengths.shape)} and dtype {lengths.dtype}"
        if isinstance(lengths, Tensor)
        else f"{lengths!r}"
    )
    raise ValueError(
        f"{function}: lengths is {what}; accepted: a tensor ({q.shape[0]},) of int32 or int64"
    )


def refuse_bad_table(function: str, table: Tensor, q: Tensor) -> None:
    refuse_unless_same_device(function, "block_table", table, q)
    if table.dtype not in _INTEGERS or table.dim() != 2 or table.shape[0] != q.shape[0]:
        raise ValueError(
            f"{function}: block_table has shape {tuple(table.shape)} and dtype {table.dtype}; "
            f"accepted: ({q.shape[0]}, pages of a row) of int32 or int64"
        )


def refuse_bad_sizes(function: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{function}: {name} is {size!r}; accepted: an integer of 1 or more")


def refuse_bad_tokens(function: str, new: Tensor, name: str, cache: Tensor, batch: int) -> None:
    """New keys or values (batch, heads, T, width) for a cache or pages (·, heads, ·, width)."""
    refuse_unless_same_device(function, name, new, cache)
    if new.dtype != cache.dtype:
        raise ValueError(
            f"{function}: {name} has dtype {new.dtype}; accepted: the cache's, {cache.dtype}"
        )
    heads, width = cache.shape[1], cache.shape[3]
    if new.dim() != 4 or (new.shape[0], new.shape[1], new.shape[3]) != (batch, heads, width):
        raise ValueError(
            f"{function}: {name} has shape {tuple(new.shape)}; accepted: "
            f"({batch}, {heads}, T, {width})"
        )
