"""The kernels of cudalint/kernels/_norms as they are launched, compiled for GPUs not here."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton", reason="no Triton here")

from cudalint.kernels._norms import backward_kernels, forward_kernels, launches
from cudalint.kernels._norms import backward_launches as backward
from cudalint.kernels._norms.registration import LONG_ROWS
from tests.kernels.ahead_of_time import SHARED_LIMIT, Compiled, compile_kernel
from tests.kernels.norm_calls import NORMS

SIZE = {"bf16": 2, "fp16": 2, "fp32": 4}
COLUMNS = (64, 1152, 4096, 8192)
PARTS = {"r": "RESIDUAL", "g": "GATE", "w": "WEIGHT", "b": "BIAS", "s": "SCALE", "t": "SHIFT"}
SUMS = ("dg_ptr", "dw_ptr", "db_ptr", "ds_ptr", "dt_ptr")
FLOATING = ("inverse_cols", "eps", "weight_offset", "scale_offset")
CALLS = [*NORMS, "gated_residual"]


def switches(name: str) -> dict[str, Any]:
    """The constants that both kernels of one call share."""
    norm = NORMS.get(name, NORMS["pair"])
    parts = "rg" if name == "gated_residual" else norm.parts
    there = {switch: part in parts for part, switch in PARTS.items()}
    return there | {
        "NORM": name in NORMS, "LAYER": norm.layer, "ROUND": 0 if norm.late else 2,
    }  # fmt: skip


def forward(
    name: str, cols: int, dtype: str, arch: int, per_row: bool = False, looped: bool = False,
    **how: Any,
) -> Compiled:  # fmt: skip
    tile = launches.forward_tile(cols)
    constants = switches(name) | {
        "PER_ROW": per_row, "PRECISE": dtype == "fp32", "LOOPED": looped, **filled(tile, cols),
    }  # fmt: skip
    return specialised(forward_kernels.forward, constants, tile.warps, dtype, arch, **how)


def filled(tile: Any, cols: int) -> dict[str, Any]:
    """The constants of a tile, of as many rows as there are multiples of it."""
    names = ("BLOCK_ROWS", "FIRST", "REST", "EVEN")
    return dict(zip(names, tile.constants(tile.rows, cols), strict=True))


def steps(name: str, cols: int) -> list[set[str]]:
    """The sums that one launch makes; beside long rows gate's has one of its own."""
    there = switches(name)
    sums = {f"{p}_GRAD" for p in ("GATE", "WEIGHT", "BIAS", "SCALE", "SHIFT") if there[p]}
    if cols <= LONG_ROWS or len(sums) <= 2 or "GATE_GRAD" not in sums:
        return [sums]
    return [sums - {"GATE_GRAD"}, {"GATE_GRAD"}]


def backwards(
    name: str, cols: int, dtype: str, arch: int, per_row: bool = False, **how: Any
) -> list[Compiled]:
    there, results = switches(name), []
    for sums in steps(name, cols):
        gated = sums == {"GATE_GRAD"} or name == "gated_residual"
        at_once = len(steps(name, cols)) == 1
        dh = there["RESIDUAL"] or gated
        reads = 2 * (not gated) + dh + ("GATE_GRAD" in sums)
        tile = backward.backward_tile(cols, len(sums))
        stages = backward.stages(tile, reads * SIZE[dtype], SHARED_LIMIT[arch])
        constants = there | {
            "NORM": not gated, "DH": dh, "GATE": there["GATE"] and (gated or at_once),
            "SUM_GRAD": not gated, "X_GRAD": there["GATE"] and (gated or at_once),
            "PER_ROW": per_row, "PRECISE": dtype == "fp32", "STAGES": 1 if per_row else stages,
            **filled(tile, cols),
        }  # fmt: skip
        names = [n for n in backward_kernels.backward.arg_names if n.endswith("_GRAD")]
        constants |= {n: n in sums for n in names if n not in constants}
        kernel = backward_kernels.backward
        results.append(specialised(kernel, constants, tile.warps, dtype, arch, **how))
    return results


def specialised(
    kernel: Any,
    constants: dict[str, Any],
    warps: int,
    dtype: str,
    arch: int,
    *,
    signature: str = "aligned",
    levels: int = 1,
) -> Compiled:
    names = kernel.arg_names
    types = {n: f"*{dtype}" for n in names if n.endswith("_ptr")}
    types |= {n: "*fp32" for n in SUMS if n in names}
    types |= {n: "fp32" for n in FLOATING if n in names}
    numbers = [n for n in names if n not in types and n.islower()]
    types |= dict.fromkeys(numbers, "i32")
    counts = ("group_rows", "programs")
    divisible = [n for n in types if types[n] != "fp32" and n not in counts]
    flat = [n for n in ("size1", "size2") if n in names and levels == 1]
    constants = constants | {"LEVELS": levels}
    return compile_kernel(
        kernel,
        types,
        {name: value for name, value in constants.items() if name in names},
        warps=warps,
        arch=arch,
        divisible=divisible if signature == "aligned" else (),
        ones=numbers if signature == "ones" else flat,
    )


def runs(name: str, cols: int) -> bool:
    """Long rows with a scale and weights go to the reference."""
    return cols <= LONG_ROWS or not {"s", "w"} <= set(NORMS.get(name, NORMS["pair"]).parts)


def assert_fits(result: Compiled, arch: int, cols: int, precise: bool = False) -> None:
    """Nothing spilled, but from 4,096 columns on a few bytes, by ptxas's mood; 8 are its calls'."""
    spilled = 32 if cols >= LONG_ROWS else 8 * (precise or cols % 8 > 0)
    assert result.stack <= spilled, f"{result.stack} bytes of stack: registers are spilled"
    assert result.shared <= SHARED_LIMIT[arch]


ALIGNED = [(name, cols) for name in CALLS for cols in COLUMNS if runs(name, cols)]
# the other GPUs and float32: each call with one size in turn
SIZES = ((80, 1152), (86, 4096), (100, 8192), (120, 1024))
OTHERS = [(name, *SIZES[i % 4]) for i, name in enumerate(CALLS)] + [("pair", 100, 8192)]
FLOATS = [(name, *((90, 4096), (90, 1152), (89, 4096))[i % 3]) for i, name in enumerate(CALLS)]
FLOATS += [("layer_norm", 90, 8192), ("add_rms_norm", 90, 8192), ("ada_layer_norm", 90, 8192)]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("cols", [1152, 4096])
def test_several_tiles_a_program(name: str, cols: int) -> None:
    result = forward(name, cols, "bf16", 90, looped=True)
    assert_fits(result, 90, cols)
    assert 16 in result.accesses("ld")


@pytest.mark.parametrize(("name", "cols"), ALIGNED)
def test_aligned_rows_move_16_bytes_and_spill_nothing(name: str, cols: int) -> None:
    for result in (forward(name, cols, "bf16", 90), *backwards(name, cols, "bf16", 90)):
        assert_fits(result, 90, cols)
        assert 16 in result.accesses("ld")
        assert 16 in result.accesses("st")


@pytest.mark.parametrize(("name", "arch", "cols"), [o for o in OTHERS if runs(o[0], o[2])])
def test_other_gpus(name: str, arch: int, cols: int) -> None:
    for result in (forward(name, cols, "bf16", arch), *backwards(name, cols, "bf16", arch)):
        assert_fits(result, arch, cols)


@pytest.mark.parametrize(("name", "arch", "cols"), FLOATS)
def test_float32(name: str, arch: int, cols: int) -> None:
    for result in (forward(name, cols, "fp32", arch), *backwards(name, cols, "fp32", arch)):
        assert_fits(result, arch, cols, precise=True)


@pytest.mark.parametrize(("name", "cols"), [("pair with weights", 64), ("pair", 4096)])
def test_a_row_of_scale_for_each_row(name: str, cols: int) -> None:
    results = backwards(name, cols, "bf16", 90, per_row=True)
    for result in (forward(name, cols, "bf16", 90, per_row=True), *results):
        assert_fits(result, 90, cols)
        assert 16 in result.accesses("ld") & result.accesses("st")


@pytest.mark.parametrize("name", ["layer_norm", "pair with weights"])
@pytest.mark.parametrize("how", [{"signature": "unaligned"}, {"signature": "ones"}, {"levels": 3}])
@pytest.mark.parametrize("cols", [33, 1152])
def test_other_signatures(name: str, how: dict[str, Any], cols: int) -> None:
    results = backwards(name, cols, "bf16", 90, **how)
    for result in (forward(name, cols, "bf16", 90, **how), *results):
        assert_fits(result, 90, cols)


@pytest.mark.parametrize("signature", ["aligned", "ones"])
def test_the_sum_of_parts(signature: str) -> None:
    constants = {"BLOCK_ROWS": 64, "BLOCK_COLS": 32}
    kernel = backward_kernels.sum_parts
    result = specialised(kernel, constants, 4, "fp32", 90, signature=signature)
    assert_fits(result, 90, 32)
    assert signature == "ones" or 16 in result.accesses("ld")
