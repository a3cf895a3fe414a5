"""The rotary kernel compiled for GPUs that are not here: no spills, wide accesses."""

from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="no Triton here")

from cudalint.kernels._blocks import next_power_of_two
from cudalint.kernels._rope import launches, triton_kernels
from cudalint.kernels._rows import Rows
from tests.kernels.ahead_of_time import Compiled, assert_fits, specialised

FORMS = [(interleaved, half_table) for interleaved in (False, True) for half_table in (False, True)]
forms = pytest.mark.parametrize(("interleaved", "half_table"), FORMS)


def compiled(
    width: int, rotary: int, interleaved: bool, half_table: bool, dtype: str, arch: int,
    signature: str = "aligned", levels: int = 1, backward: bool = False, heads: int = 0,
    wide: bool = False,
) -> Compiled:  # fmt: skip
    half, rest = rotary // 2, width - rotary
    block_half, block_rest = next_power_of_two(half), next_power_of_two(rest)
    rows = Rows(levels, (64, heads), (0,) * 12)
    tile = launches.tile(rows, 4096 * heads, block_half)
    assert tile.shared == (heads > 0)
    constants: dict[str, object] = {
        "INTERLEAVED": interleaved, "HALF_TABLE": half_table, "BACKWARD": backward, "PAIR": True,
        "TOGETHER": heads > 0,
        "Q_LEVELS": levels, "K_LEVELS": levels, "HALF": half, "Q_REST": rest, "K_REST": rest,
        "Q_SHARED": tile.shared, "K_SHARED": tile.shared, "Q_BLOCK_ROWS": tile.rows,
        "K_BLOCK_ROWS": tile.rows, "WIDE": wide, "BLOCK_HALF": block_half,
        "Q_BLOCK_REST": block_rest, "K_BLOCK_REST": block_rest,
    }  # fmt: skip
    return specialised(
        triton_kernels.turn, constants, launches.warps(signature == "aligned"), dtype, arch,
        signature, levels,
        ("cos_step", "sin_step"),
    )  # fmt: skip


@forms
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize(("backward", "heads"), [(False, 0), (False, 32), (True, 32)])
def test_aligned_rows_move_16_bytes_and_spill_nothing(
    interleaved: bool, half_table: bool, dtype: str, backward: bool, heads: int
) -> None:
    result = compiled(
        128, 128, interleaved, half_table, dtype, 90, levels=2, backward=backward, heads=heads
    )
    assert_fits(result, 90)
    assert 16 in result.accesses("ld")
    assert result.accesses("st") == {16}


@pytest.mark.parametrize(("width", "rotary"), [(64, 64), (80, 32), (96, 96), (256, 256), (2, 2)])
@pytest.mark.parametrize(("levels", "interleaved"), [(1, False), (3, True)])
def test_widths_and_partial_rotary(width: int, rotary: int, levels: int, interleaved: bool) -> None:
    result = compiled(width, rotary, interleaved, False, "bf16", 90, levels=levels)
    assert_fits(result, 90)
    assert width == 2 or 16 in result.accesses("st")


@pytest.mark.parametrize("arch", [75, 80, 86, 89, 100, 120])
def test_other_architectures(arch: int) -> None:
    result = compiled(128, 128, False, False, "fp16" if arch == 75 else "bf16", arch, levels=3)
    assert result.stack == 0
    assert 16 in result.accesses("st")


@pytest.mark.parametrize("signature", ["unaligned", "ones"])
@pytest.mark.parametrize(("interleaved", "half_table"), [FORMS[0], FORMS[3]])
def test_other_strides(signature: str, interleaved: bool, half_table: bool) -> None:
    for heads in (0, 12):
        result = compiled(128, 64, interleaved, half_table, "bf16", 90, signature, 3, heads=heads)
        assert_fits(result, 90)


def test_more_rows_than_32_bits_count() -> None:
    assert_fits(compiled(128, 128, False, False, "bf16", 90, levels=3, wide=True), 90)
