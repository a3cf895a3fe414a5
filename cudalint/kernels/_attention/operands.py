"""Operands of the attention kernels, and what the kernels are told of them beside their addresses."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._attention import dropout
from cudalint.kernels._attention.call import LOG2E, NEAR, Extras, Form, near_rows
from cudalint.kernels._dispatch import allows_tf32
from cudalint.kernels._launch import Number


class Operands(NamedTuple):
    """Tensors with dense rows, and the extras as the kernels read them.

    `layout` is all that decides a launch, but for the results.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    extras: Extras
    form: Form
    layout: tuple[object, ...]

    @property
    def pointers(self) -> tuple[Tensor, ...]:
        """q, k, v, bias, mask and slopes: q stands for what is not there."""
        bias, mask, slopes, _, _ = self.extras
        return self.q, self.k, self.v, *[self.q if t is None else t for t in (bias, mask, slopes)]


def operands(q: Tensor, k: Tensor, v: Tensor, extras: Extras, form: Form) -> Operands:
    shape = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    bias, mask, slopes, sinks, seed = extras
    bias, mask = (None if t is None else _near(t).expand(shape) for t in (bias, mask))
    if slopes is not None:
        slopes = slopes.expand(shape[:2])
    if sinks is not None:
        sinks = sinks.contiguous()
    extras = Extras(bias, mask, slopes, sinks, seed)
    q, k, v = near_rows(q), near_rows(k), near_rows(v)
    known = [None if t is None else (t.stride(), t.dtype) for t in extras]
    layout = (
        q.device, q.dtype, q.shape, q.stride(), k.shape, k.stride(), v.shape, v.stride(), *known,
        form, q.dtype == torch.float32 and allows_tf32(),
    )  # fmt: skip
    return Operands(q, k, v, extras, form, layout)


def _near(mask: Tensor) -> Tensor:
    return mask.contiguous() if any([s >= NEAR for s in mask.stride()[-2:]]) else mask


def plane(q: Tensor) -> int:
    return q.shape[0] * q.shape[1] * q.shape[2]


def strides(x: Operands) -> tuple[int, ...]:
    """Sizes first: heads, query heads to a key head, queries, keys."""
    q, k, v = x.q, x.k, x.v
    bias, mask, slopes, _, _ = x.extras
    none = (0,) * 4
    return (
        q.shape[1], q.shape[1] // k.shape[1], q.shape[2], k.shape[2],
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
        *(none if bias is None else bias.stride()), *(none if mask is None else mask.stride()),
        *(none[:2] if slopes is None else slopes.stride()),
    )  # fmt: skip


def _shift(x: Operands) -> int:
    return x.k.shape[2] - x.q.shape[2] if x.form.bottom_right else 0


def _hides(x: Operands) -> tuple[bool, bool]:
    """Whether the window hides keys on the left, and on the right."""
    left, right = x.form.left, x.form.right
    return (
        0 <= left < x.q.shape[2] - 1 + _shift(x),
        0 <= right < x.k.shape[2] - 1 - _shift(x),
    )


def numbers(x: Operands) -> tuple[Number, ...]:
    form, sides = x.form, zip((x.form.left, x.form.right), _hides(x), strict=True)
    left, right = (side if hides else 0 for side, hides in sides)
    kept = 1.0 / (1.0 - form.dropout_p)
    threshold = dropout.threshold(form.dropout_p)
    return left, right, _shift(x), threshold, *score_numbers(x), kept


def score_numbers(x: Operands) -> tuple[float, float]:
    """What products of q and k are multiplied with, and the cap: as `score_tile` wants them."""
    factor, softcap = scale(x), x.form.softcap
    if x.q.dtype == torch.float32:  # in the unit of the scores: see `scores`
        return (factor, 1.0) if softcap is None else (factor / softcap, softcap)
    if softcap is None:
        return factor * LOG2E, 1.0
    return 2.0 * LOG2E * factor / softcap, softcap * LOG2E


def scale(x: Operands) -> float:
    return float(x.q.shape[-1] ** -0.5 if x.form.scale is None else x.form.scale)


def is_exact(x: Operands) -> bool:
    """Whether float32 means float32 here."""
    return x.q.dtype == torch.float32 and not allows_tf32()


def alibi(x: Operands) -> int:
    """0 without; 2 where no query sees a key behind it, as far as ALiBi counts: see `score_tile`.

    Not in float32, whose rounding would show, nor with sinks, which are a score like any other.
    """
    if x.extras.alibi_slopes is None:
        return 0
    aligned = x.form.bottom_right or x.q.shape[2] == x.k.shape[2]
    past = x.form.right == 0 and aligned
    return 2 if past and x.q.dtype != torch.float32 and x.extras.sinks is None else 1


def switches(x: Operands, sinks: bool = False) -> tuple[Any, ...]:
    """The constants, from the widths to the one for the interpreter."""
    bias, mask, _, _, seed = x.extras
    kind = 0 if mask is None else 2 if mask.dtype == torch.bool else 1
    single = x.q.dtype == torch.float32
    precision = "tf32" if single and not is_exact(x) else "ieee"
    return (
        x.q.shape[-1], x.v.shape[-1], x.form.softcap is not None, bias is not None, kind,
        alibi(x), *((x.extras.sinks is not None,) if sinks else ()), seed is not None,
        *_hides(x), single, precision,
        x.q.get_device() < 0 and x.q.dtype == torch.bfloat16,
    )  # fmt: skip
