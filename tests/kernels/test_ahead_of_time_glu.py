"""The gated units compiled for GPUs that are not here: no spills, wide accesses."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton", reason="no Triton here")

from cudalint.kernels._glu import launches, triton_kernels
from tests.kernels.ahead_of_time import Compiled, assert_fits, specialised

KERNELS: dict[str, tuple[Any, dict[str, object]]] = {
    "forward": (triton_kernels.forward, {}),
    "backward": (triton_kernels.backward, {"GATE_GRAD": True, "UP_GRAD": True}),
    "backward, up frozen": (triton_kernels.backward, {"GATE_GRAD": True, "UP_GRAD": False}),
}
kernels = pytest.mark.parametrize("name", list(KERNELS))
KINDS = ("silu", "gelu", "gelu_tanh")


def compiled(
    name: str, kind: str, cols: int, dtype: str, arch: int, signature: str = "aligned",
    levels: int = 1,
) -> Compiled:  # fmt: skip
    function, constants = KERNELS[name]
    rows, width = launches.tile(cols)
    constants = constants | {
        "LEVELS": levels, "KIND": kind, "BLOCK_ROWS": rows, "BLOCK_COLS": width
    }  # fmt: skip
    warps = launches.FORWARD_WARPS if name == "forward" else launches.BACKWARD_WARPS
    return specialised(function, constants, warps, dtype, arch, signature, levels)


@kernels
@pytest.mark.parametrize(
    ("kind", "arch", "dtype"),
    [*((kind, 90, dtype) for kind in KINDS for dtype in ("bf16", "fp16", "fp32")),
     *(("gelu", arch, "bf16") for arch in (75, 80, 86, 89, 100, 120))],
)  # fmt: skip
def test_aligned_rows_move_16_bytes_and_spill_nothing(
    name: str, kind: str, arch: int, dtype: str
) -> None:
    if arch == 75 and dtype == "bf16":
        dtype = "fp16"  # Turing has no bfloat16
    result = compiled(name, kind, 11008, dtype, arch)
    assert result.stack == 0
    assert 16 in result.accesses("ld")
    assert 16 in result.accesses("st")


@kernels
@pytest.mark.parametrize("signature", ["unaligned", "ones"])
@pytest.mark.parametrize(("cols", "levels"), [(1, 1), (64, 3), (4096, 2)])
def test_other_strides(name: str, signature: str, cols: int, levels: int) -> None:
    assert_fits(compiled(name, "gelu", cols, "bf16", 90, signature, levels), 90)
