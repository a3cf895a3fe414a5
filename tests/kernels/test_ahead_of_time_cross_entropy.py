"""Cross-entropy compiled for GPUs that are not here: no spills, wide accesses."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton", reason="no Triton here")

from cudalint.kernels._cross_entropy import launches, triton_kernels
from tests.kernels.ahead_of_time import SIZE, Compiled, assert_fits, compile_kernel

SWITCHES = {
    "plain": {"SMOOTHED": False, "CAPPED": False, "SQUARED": False},
    "all": {"SMOOTHED": True, "CAPPED": True, "SQUARED": True},
}
COLUMNS = (64, 4096, 32000, 128256)


def compiled(
    name: str, switches: str, cols: int, dtype: str, arch: int, signature: str = "aligned",
    levels: int = 1, rows: int = launches.MANY_ROWS,
) -> Compiled:  # fmt: skip
    function, constants, warps = _kernel(name, cols, dtype, rows)
    names = function.arg_names
    types = {n: "*fp32" for n in names if n.endswith("_ptr")}
    types |= {n: f"*{dtype}" for n in ("x_ptr", "dx_ptr") if n in names} | {"target_ptr": "*i64"}
    types |= {n: "fp32" for n in ("label_smoothing", "softcap", "z_loss") if n in names}
    numbers = [n for n in names if n not in types and n.islower()]
    types |= dict.fromkeys(numbers, "i32")
    flat = [n for n in ("size1", "size2") if levels == 1]
    return compile_kernel(
        function,
        types,
        {n: v for n, v in (constants | SWITCHES[switches] | {"LEVELS": levels}).items() if n in names},
        warps=warps,
        arch=arch,
        divisible=[n for n in types if types[n] != "fp32" and n not in ("rows", "ignore_index")]
        if signature == "aligned"
        else (),
        ones=numbers if signature == "ones" else flat,
    )  # fmt: skip


def _kernel(name: str, cols: int, dtype: str, rows: int) -> tuple[Any, dict[str, object], int]:
    if name == "reduce":
        constants: dict[str, object] = {"MEAN": True, "BLOCK": launches.REDUCE_BLOCK}
        return triton_kernels.reduce, constants, launches.REDUCE_WARPS
    if name == "backward":
        height, width = launches.backward_tile(cols)
        constants = {"REDUCED": True, "BLOCK_ROWS": height, "BLOCK_COLS": width}
        return triton_kernels.backward, constants, launches.TILE_WARPS
    blocks = launches.forward_blocks(cols, rows)
    function = triton_kernels.forward_short if blocks.whole else triton_kernels.forward_long
    constants = {
        "BLOCK_ROWS": blocks.rows, "BLOCK_COLS": blocks.cols, "VECTOR": 16 // SIZE[dtype],
        "REDUCTION": 2 if blocks.whole and rows == 1 else 0,
    }  # fmt: skip
    return function, constants, blocks.warps


kernels = pytest.mark.parametrize("name", ["forward", "backward"])
switches = pytest.mark.parametrize("switches", list(SWITCHES))


@kernels
@switches
@pytest.mark.parametrize("cols", COLUMNS)
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("rows", [1, launches.MANY_ROWS])
def test_aligned_rows_move_16_bytes_and_spill_nothing(
    name: str, switches: str, cols: int, dtype: str, rows: int
) -> None:
    result = compiled(name, switches, cols, dtype, 90, rows=rows)
    assert_fits(result, 90)
    assert 16 in result.accesses("ld")
    assert name == "forward" or 16 in result.accesses("st")


@kernels
@pytest.mark.parametrize("arch", [75, 80, 86, 89, 100, 120])
@pytest.mark.parametrize("cols", [64, 32000])
def test_other_architectures(name: str, arch: int, cols: int) -> None:
    assert compiled(name, "all", cols, "fp16", arch, levels=2).stack == 0


@kernels
@pytest.mark.parametrize("signature", ["unaligned", "ones"])
@pytest.mark.parametrize(("cols", "levels"), [(1, 1), (33, 3), (50257, 2)])
def test_other_strides(name: str, signature: str, cols: int, levels: int) -> None:
    assert_fits(compiled(name, "plain", cols, "bf16", 90, signature, levels), 90)


@pytest.mark.parametrize("signature", ["aligned", "unaligned", "ones"])
def test_the_reduction(signature: str) -> None:
    assert_fits(compiled("reduce", "plain", 1, "bf16", 90, signature, 3), 90)
