"""The norms of cudalint/kernels/_norms as their operator takes them, and the three ways to run one.

Shared by the interpreter's tests and those on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._norms.reference import Form, Operands, fused_norm, fused_norm_backward
from tests.kernels.inputs import draw


class Norm(NamedTuple):
    """`parts`: r residual, g gate, w weight, b bias, s scale, t shift."""

    parts: str
    layer: bool
    late: bool = True
    offset: float = 0.0


NORMS = {
    "layer_norm": Norm("wb", True),
    "add_rms_norm": Norm("rw", False, late=False),
    "add_rms_norm late": Norm("rw", False, offset=1.0),
    "add_layer_norm": Norm("rwb", True),
    "ada_layer_norm": Norm("st", True),
    "ada_rms_norm": Norm("stw", False),
    "pair": Norm("rgst", True),
    "pair with weights": Norm("rgstwb", True),
}
# how scale, shift and gate broadcast against (B, T, C)
KINDS = {
    "(B, 1, C)": lambda b, t: (b, 1),
    "(B, T, C)": lambda b, t: (b, t),
    "(1, 1, C)": lambda b, t: (1, 1),
    "(1, T, C)": lambda b, t: (1, t),
}


def operands(norm: Norm, x: Tensor, kind: str = "(B, 1, C)", seed: int = 0) -> Operands:
    """Beside `x`, (B, T, C), what `norm` takes, in x's dtype; modulations are slices of a chunk."""
    batch, tokens, cols = x.shape
    device, dtype = x.device.type, x.dtype
    leading = KINDS[kind](batch, tokens)

    def like(rows: int, number: int) -> Tensor:
        return draw(rows, cols, dtype, device=device, seed=1000 * seed + number)

    def part(number: int) -> Tensor:
        table = draw(leading[0] * leading[1], 3 * cols, dtype, device=device, seed=77 + seed)
        return table.view(*leading, 3 * cols).chunk(3, dim=-1)[number]

    def there(name: str, make: Callable[[], Tensor]) -> Tensor | None:
        return make() if name in norm.parts else None

    return Operands(
        x,
        there("r", lambda: like(batch * tokens, 1).view(x.shape)),
        there("g", lambda: part(0)),
        there("w", lambda: like(1, 2)[0]),
        there("b", lambda: like(1, 3)[0]),
        there("s", lambda: part(1)),
        there("t", lambda: part(2)),
    )


def form(norm: Norm, dtype: torch.dtype, eps: float = 1e-6) -> Form:
    return Form(eps, norm.offset, 1.0, norm.layer, norm.late, dtype, dtype, dtype)


def fair(o: Operands, f: Form, dy: Tensor, dh: Tensor | None, rounded: torch.dtype) -> list[Tensor]:
    """The results and each operand's gradient in plain torch, rounded to `rounded` at the end."""
    y, h = fused_norm(o, f)
    found = fused_norm_backward(dy, dh, h, o if o.gate is not None else o._replace(x=h), f)
    pairs = [(o.x, found.x), (o.residual, found.h), *zip(o[2:], found[2:], strict=True)]
    gradients = [g.sum_to_size(t.shape).to(rounded) for t, g in pairs if t is not None]
    return [y, *([] if o.residual is None else [h]), *gradients]
