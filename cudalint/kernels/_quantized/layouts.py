"""How integer weights lie in memory: int8 as they are, int4 eight to an int32.

- `int8`: qweight (N, K) int8; scales (N,) or (N, K / group); no zeros.
- `gptq`, `gptq_v2`: qweight (K / 8, N), row 8r + i in bits 4i of row r; zeros (G, N / 8), column
  8c + j in bits 4j; `gptq`, the first format, stores them less one. scales (G, N).
- `awq`: qweight (K, N / 8) and zeros (G, N / 8), even columns of eight in the low half, odd ones in the
  high half. scales (G, N).

weight[k, n] = scales[g, n] · (q[k, n] − zeros[g, n]), g = k // group or group_index[k].
"""

from __future__ import annotations

import torch
from torch import Tensor

INT4_LAYOUTS = ("gptq", "gptq_v2", "awq")
# bits of columns 0 to 7 of eight in an int32
_IN_ORDER = (0, 4, 8, 12, 16, 20, 24, 28)
_AWQ_ORDER = (0, 16, 4, 20, 8, 24, 12, 28)


def _bits(layout: str, device: torch.device) -> Tensor:
    return torch.tensor(_AWQ_ORDER if layout == "awq" else _IN_ORDER, device=device)


def unpack_columns(packed: Tensor, layout: str) -> Tensor:
    """(rows, N / 8) int32 → (rows, N), 0 to 15."""
    nibbles = packed[:, :, None] >> _bits(layout, packed.device)
    return (nibbles & 15).reshape(packed.shape[0], -1)


def pack_columns(values: Tensor, layout: str) -> Tensor:
    """(rows, N), 0 to 15 → (rows, N / 8) int32."""
    eights = values.to(torch.int64).reshape(values.shape[0], -1, 8)
    packed = (eights << _bits(layout, values.device)).sum(-1)
    return torch.where(packed < 2**31, packed, packed - 2**32).to(torch.int32)


def unpack_weight(qweight: Tensor, layout: str) -> Tensor:
    """The integers, (K, N), 0 to 15."""
    if layout == "awq":
        return unpack_columns(qweight, layout)
    return unpack_columns(qweight.t(), layout).t()


def pack_weight(values: Tensor, layout: str) -> Tensor:
    """(K, N), 0 to 15, as `layout` keeps it."""
    if layout == "awq":
        return pack_columns(values, layout)
    return pack_columns(values.t(), layout).t().contiguous()


def unpack_zeros(zeros: Tensor, layout: str) -> Tensor:
    unpacked = unpack_columns(zeros, layout)
    return unpacked + 1 if layout == "gptq" else unpacked


def pack_zeros(zeros: Tensor, layout: str) -> Tensor:
    return pack_columns(zeros - 1 if layout == "gptq" else zeros, layout)
