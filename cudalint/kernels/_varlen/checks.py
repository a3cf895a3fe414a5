"""What `attention_varlen` refuses."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._checks import (
    can_be_read,
    refuse_unless_floating,
    refuse_unless_same_device,
)
from cudalint.kernels._varlen.padded import Sequences

_NAME = "attention_varlen"


def refuse_bad_arguments(
    q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, enable_gqa: bool
) -> None:
    _refuse_bad_operands(q, k, v)
    heads, kv_heads = q.shape[1], k.shape[1]
    if heads != kv_heads and not (enable_gqa and kv_heads and heads % kv_heads == 0):
        raise ValueError(
            f"{_NAME}: {heads} query and {kv_heads} key heads; accepted: as many, or a multiple of "
            f"them of query heads with enable_gqa=True"
        )
    _refuse_bad_offsets("cu_seqlens_q", sequences.offsets_q, q)
    _refuse_bad_offsets("cu_seqlens_k", sequences.offsets_k, q)
    if sequences.offsets_q.shape != sequences.offsets_k.shape:
        raise ValueError(
            f"{_NAME}: cu_seqlens_k has shape {tuple(sequences.offsets_k.shape)}; accepted: that of "
            f"cu_seqlens_q, {tuple(sequences.offsets_q.shape)}"
        )
    _refuse_bad_most("q", sequences.offsets_q, sequences.most_q, q.shape[0])
    _refuse_bad_most("k", sequences.offsets_k, sequences.most_k, k.shape[0])


def _refuse_bad_operands(q: Tensor, k: Tensor, v: Tensor) -> None:
    refuse_unless_floating(_NAME, "q", q)
    for name, tensor in (("k", k), ("v", v)):
        refuse_unless_same_device(_NAME, name, tensor, q)
        if tensor.dtype != q.dtype:
            raise ValueError(f"{_NAME}: {name} has dtype {tensor.dtype}; accepted: q's, {q.dtype}")
    shapes = f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
    three = q.dim() == k.dim() == v.dim() == 3
    if not three or q.shape[2] != k.shape[2] or k.shape[:2] != v.shape[:2]:
        raise ValueError(
            f"{_NAME}: q, k, v have shapes {shapes}; accepted: (total_q, H, D), (total_k, Hk, D), "
            f"(total_k, Hk, E)"
        )


def _refuse_bad_offsets(name: str, offsets: Tensor, q: Tensor) -> None:
    refuse_unless_same_device(_NAME, name, offsets, q)
    if offsets.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{_NAME}: {name} has dtype {offsets.dtype}; accepted: int32 or int64")
    if offsets.dim() != 1 or not offsets.shape[0]:
        raise ValueError(
            f"{_NAME}: {name} has shape {tuple(offsets.shape)}; accepted: (sequences + 1,)"
        )


def _refuse_bad_most(which: str, offsets: Tensor, most: int, total: int) -> None:
    """On the CPU the offsets are looked at too: it costs nothing there, and no synchronisation."""
    if isinstance(most, Tensor):
        raise ValueError(
            f"{_NAME}: max_seqlen_{which} is a tensor; accepted: a Python number, so that no call "
            f"waits for the device"
        )
    if most < 0:
        raise ValueError(f"{_NAME}: max_seqlen_{which} is {most}; accepted: 0 or more")
    if not can_be_read(offsets):
        return
    lengths = offsets.diff()
    if int(offsets[0]) or bool((lengths < 0).any()) or int(offsets[-1]) != total:
        raise ValueError(
            f"{_NAME}: cu_seqlens_{which} is {offsets.tolist()}; accepted: from 0 up to "
            f"{total}, never falling"
        )
    if lengths.numel() and int(lengths.max()) > most:
        raise ValueError(
            f"{_NAME}: max_seqlen_{which} is {most}; accepted: at least the longest sequence, "
            f"{int(lengths.max())}"
        )
