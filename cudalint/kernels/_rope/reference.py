"""Rotary position embedding in plain torch: the specification, and what runs without a kernel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._dispatch import result_type


class Form(NamedTuple):
    """Which elements make a pair, and whether the tables hold one number for both of a pair."""

    interleaved: bool
    half_table: bool


def result_dtype(x: Tensor, cos: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return result_type(x, cos) if dtype is None else dtype


def rotary_width(cos: Tensor, form: Form) -> int:
    return cos.shape[-1] * (2 if form.half_table else 1)


def rope(x: Tensor, cos: Tensor, sin: Tensor, form: Form, dtype: torch.dtype) -> Tensor:
    """The first `rotary_width` elements turned in float32 (or float64), the rest copied."""
    wide = torch.float64 if torch.float64 in (x.dtype, cos.dtype) else torch.float32
    width = rotary_width(cos, form)
    turned, cos, sin = x[..., :width].to(wide), cos.to(wide), sin.to(wide)
    if form.half_table:
        cos, sin = _for_both(cos, form), _for_both(sin, form)
    result = (turned * cos + _quarter_turn(turned, form) * sin).to(dtype)
    if width == x.shape[-1]:
        return result
    rest = x[..., width:].to(dtype)
    return torch.cat((result, rest.expand(*result.shape[:-1], -1)), dim=-1)


def rope_backward(dy: Tensor, cos: Tensor, sin: Tensor, form: Form, dtype: torch.dtype) -> Tensor:
    """The gradient of `rope`, for tables that broadcast to dy: `dy · cos` turned back by `sin`."""
    wide = torch.float64 if torch.float64 in (dy.dtype, cos.dtype) else torch.float32
    width = rotary_width(cos, form)
    turned, cos, sin = dy[..., :width].to(wide), cos.to(wide), sin.to(wide)
    if form.half_table:
        cos, sin = _for_both(cos, form), _for_both(sin, form)
    result = (turned * cos - _quarter_turn(turned * sin, form)).to(dtype)
    return torch.cat((result, dy[..., width:].to(dtype)), dim=-1)


def _quarter_turn(x: Tensor, form: Form) -> Tensor:
    """Each pair (a, b) becomes (−b, a)."""
    if form.interleaved:
        return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def _for_both(table: Tensor, form: Form) -> Tensor:
    if form.interleaved:
        return table.repeat_interleave(2, dim=-1)
    return torch.cat((table, table), dim=-1)
