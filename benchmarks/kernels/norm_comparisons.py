"""What `accuracy` compares of the norms."""

from __future__ import annotations

from torch import Tensor

from benchmarks.kernels import by_hand
from benchmarks.kernels.accuracy import Comparison, Function
from cudalint.kernels import (
    ada_layer_norm,
    ada_rms_norm,
    add_layer_norm,
    add_rms_norm,
    gated_residual,
    gated_residual_ada_layer_norm,
    layer_norm,
    rms_norm,
)
from cudalint.kernels._norms.reference import Form, Operands, fused_norm, gated_sum
from cudalint.kernels._rms_norm import reference as rms_norm_reference

EPS = 1e-6
Comparisons = dict[str, Comparison]


def rms_norms(device: str) -> Comparisons:
    def fair(x: Tensor, w: Tensor) -> Tensor:
        return rms_norm_reference.rms_norm(x, w, EPS, False, 0.0)

    shapes = [[(4096, 2048), (2048,)], [(512, 32768), (32768,)]]
    return {
        f"rms_norm {x[0]}×{x[1]}": Comparison(rms_norm, fair, by_hand.rms_norm, [x, w])
        for x, w in shapes
    }


def layer_norms(device: str) -> Comparisons:
    return {
        f"layer_norm 4096×{n}": Comparison(
            lambda x, w, b: layer_norm(x, w, b, EPS), _fair("x", "weight", "bias", layer=True),
            by_hand.layer_norm, [(4096, n), (n,), (n,)],
        )
        for n in (1024, 8192)
    }  # fmt: skip


def add_norms(device: str) -> Comparisons:
    x, vector = (4096, 2048), (2048,)
    return {
        "add_rms_norm 4096×2048": Comparison(
            lambda x, r, w: add_rms_norm(x, r, w, EPS),
            _fair("x", "residual", "weight", layer=False, late=False),
            by_hand.add_rms_norm, [x, x, vector], rounds=True,
        ),
        "add_layer_norm 4096×2048": Comparison(
            lambda x, r, w, b: add_layer_norm(x, r, w, b, EPS),
            _fair("x", "residual", "weight", "bias", layer=True),
            by_hand.add_layer_norm, [x, x, vector, vector], rounds=True,
        ),
    }  # fmt: skip


def adaptive_norms(device: str) -> Comparisons:
    x, one = (4, 512, 1152), (4, 1, 1152)
    return {
        "ada_layer_norm 4×512×1152": Comparison(
            lambda x, s, t: ada_layer_norm(x, scale=s, shift=t),
            _fair("x", "scale", "shift", layer=True), by_hand.ada_layer_norm, [x, one, one],
        ),
        "ada_rms_norm 4×512×1152": Comparison(
            lambda x, s, t: ada_rms_norm(x, scale=s, shift=t),
            _fair("x", "scale", "shift", layer=False), by_hand.ada_rms_norm, [x, one, one],
        ),
        "gated_residual 4×512×1152": Comparison(
            gated_residual, lambda r, y, g: gated_sum(r, y, g, r.dtype), by_hand.gated_residual,
            [x, x, one],
        ),
        "gated_residual_ada_layer_norm 4×512×1152": Comparison(
            lambda r, y, g, s, t: gated_residual_ada_layer_norm(r, y, g, scale=s, shift=t),
            _fair("residual", "x", "gate", "scale", "shift", layer=True),
            by_hand.gated_residual_ada_layer_norm, [x, x, one, one, one], rounds=True,
        ),
    }  # fmt: skip


def _fair(*names: str, layer: bool, late: bool = True) -> Function:
    """The reference of a norm whose operands come as `names`; the sum too, where there is one."""

    def run(*operands: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        dtype, offset = operands[0].dtype, 1.0 if "scale" in names else 0.0
        form = Form(EPS, 0.0, offset, layer, late, dtype, dtype, dtype)
        y, h = fused_norm(Operands(**dict(zip(names, operands, strict=True))), form)
        return (y, h) if "residual" in names else y

    return run
