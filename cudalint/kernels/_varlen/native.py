"""The route to torch.nn.attention.varlen, which runs FlashAttention on packed sequences."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._attention.native import HALVES
from cudalint.kernels._attention.reference import repeat_heads
from cudalint.kernels._dispatch import needs_gradient
from cudalint.kernels._varlen.padded import Options, Sequences

_OPEN = (-1, -1)
_CAUSAL = (-1, 0)
_MOST_WIDTH = 256

# Only the data centre parts have the shared memory for the backward of wide heads.
_MOST_WIDTH_BACKWARD = 192
_LARGE_SHARED_MEMORY = ((8, 0), (9, 0), (10, 0), (10, 3))


def _parameters() -> frozenset[str]:
    """The names that this torch's varlen_attn takes: they grew from 2.10 to 2.13.

    Read from its text: importing the module imports torch's compiler.
    """
    spec = importlib.util.find_spec("torch.nn.attention.varlen")
    if spec is None or spec.origin is None:
        return frozenset()
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == "varlen_attn":
            return frozenset(a.arg for a in (*node.args.args, *node.args.kwonlyargs))
    return frozenset()


PARAMETERS = _parameters()


def takes(q: Tensor, k: Tensor, v: Tensor, options: Options) -> bool:
    """Whether FlashAttention has the case."""
    width = q.shape[2]
    if not q.is_cuda or q.dtype not in HALVES or options.softcap is not None:
        return False
    if width != v.shape[2] or width % 8 or not 0 < width <= _MOST_WIDTH:
        return False
    if not q.numel() or not k.numel() or not _says(options):
        return False
    capability = torch.cuda.get_device_capability(q.device)
    if width > _MOST_WIDTH_BACKWARD and needs_gradient(q, k, v):
        return capability in _LARGE_SHARED_MEMORY
    return capability >= (8, 0)


def _says(options: Options) -> bool:
    """Whether this torch's varlen_attn has words for the options."""
    if options.scale is not None and "scale" not in PARAMETERS:
        return False
    if "window_size" in PARAMETERS:
        return True
    return "is_causal" in PARAMETERS and options.window in (_OPEN, _CAUSAL)


def attention_varlen(
    q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, options: Options
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    extra: dict[str, Any] = {}
    if options.scale is not None:
        extra["scale"] = options.scale
    if "window_size" in PARAMETERS:
        extra["window_size"] = options.window
    else:
        extra["is_causal"] = options.window == _CAUSAL
    if q.shape[1] != k.shape[1]:
        if "enable_gqa" in PARAMETERS:
            extra["enable_gqa"] = True
        else:
            k, v = (repeat_heads(t.transpose(0, 1), q.transpose(0, 1)) for t in (k, v))
            k, v = k.transpose(0, 1), v.transpose(0, 1)
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    offsets_q, offsets_k = (
        t.to(torch.int32).contiguous() for t in (sequences.offsets_q, sequences.offsets_k)
    )
    out = varlen_attn(q, k, v, offsets_q, offsets_k, sequences.most_q, sequences.most_k, **extra)
    assert isinstance(out, Tensor)  # and no pair: nothing else was asked for
    return out
