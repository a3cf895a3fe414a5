"""The operator cudalint::decode_attention, which has no gradient, and the way round it."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._blocks import next_power_of_two
from cudalint.kernels._decode import reference
from cudalint.kernels._dispatch import kernel_runs
from cudalint.kernels._launch import properties
from cudalint.kernels._library import LIBRARY, NAMESPACE, define

# Queries that a program holds: heads of a group times tokens of each; of float32, their numbers.
MOST_QUERIES = 64
MOST_SINGLE = 1024
MOST_WIDTH = 256


@functools.cache
def _launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._decode import launches

    return launches


def kernel_takes(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the kernel has the case, on a GPU that is new enough: before Ampere, no tensor core
    multiplies bfloat16."""
    if not kernel_runs(q) or k.stride(-1) != 1 or v.stride(-1) != 1:
        return False
    queries = q.shape[1] // k.shape[1] * q.shape[2]
    if not 0 < queries <= MOST_QUERIES or 0 in (q.shape[0], k.shape[0], k.shape[2]):
        return False
    widths = (q.shape[3], v.shape[3])
    if q.dtype == torch.float32 and _too_many(queries, max(widths)):
        return False
    return all([0 < width <= MOST_WIDTH for width in widths])


def _too_many(queries: int, width: int) -> bool:
    """While compiling, sizes may have no number yet: then the operator asks again."""
    if torch.compiler.is_compiling():
        return False
    return next_power_of_two(queries) * next_power_of_two(width) > MOST_SINGLE


def run_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    block_table: Tensor | None,
    lengths: Tensor,
    scale: float | None,
    softcap: float | None,
    left: int,
) -> Tensor:
    some_places = block_table is None or block_table.shape[1] > 0
    if not some_places or not kernel_takes(q, k, v) or properties(q.get_device()).major < 8:
        return run_reference(q, k, v, block_table, lengths, scale, softcap, left).contiguous()
    launches = _launches()
    form = launches.Form(scale, softcap, left)
    out: Tensor = launches.attend(q, k, v, block_table, lengths, form)
    return out


def run_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    block_table: Tensor | None,
    lengths: Tensor,
    scale: float | None,
    softcap: float | None,
    left: int,
) -> Tensor:
    if block_table is not None:
        if not k.shape[0] or not block_table.shape[1]:
            return q.new_zeros(*q.shape[:3], v.shape[3])
        k, v = (reference.gathered(t, block_table) for t in (k, v))
    window = None if left < 0 else (left, 0)
    return reference.attend(q, k, v, lengths, scale, softcap, window)


def _fake_forward(q: Tensor, k: Tensor, v: Tensor, *others: Any) -> Tensor:
    return q.new_empty((*q.shape[:3], v.shape[3]))


def _refuse(ctx: object, *gradients: object) -> None:
    raise NotImplementedError(
        "decode_attention: there is no backward; accepted: a call under torch.no_grad()"
    )


define(
    "decode_attention(Tensor q, Tensor k, Tensor v, Tensor? block_table, Tensor lengths, "
    "float? scale, float? softcap, int left) -> Tensor",
    run_forward,
    _fake_forward,
)
torch.library.register_autograd(f"{NAMESPACE}::decode_attention", _refuse, lib=LIBRARY)
