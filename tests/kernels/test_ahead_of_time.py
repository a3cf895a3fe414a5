"""Every kernel as it is launched, compiled for GPUs that are not here: no spills, wide accesses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("triton", reason="no Triton here")

from cudalint.kernels._blocks import Blocks, tiles_fit
from cudalint.kernels._rms_norm import backward_kernels, chunk_kernels, forward_kernels
from cudalint.kernels._rms_norm import launches as rms_norm
from cudalint.kernels._softmax import launches as softmax
from cudalint.kernels._softmax import triton_kernels as softmax_kernels
from cudalint.kernels._softmax.teams import POLLS, team_of
from tests.kernels.ahead_of_time import (
    SHARED_LIMIT,
    SIZE,
    Compiled,
    assert_fits,
    compile_kernel,
    specialised,
)

COLUMNS = (64, 1024, 3072, 4096, 8192, 16384, 32768, 131072)


@dataclass(frozen=True)
class Kernel:
    """The kernel for rows of whole tiles, that for longer rows, and the constants of one call."""

    short: Any
    long: Any
    blocks: Callable[[int], Blocks]
    constants: dict[str, object]


def _backward_blocks(weight_grad: bool) -> Callable[[int], Any]:
    return lambda cols: rms_norm.backward_blocks(cols, weight_grad, halves=False, hopper=False)


KERNELS = {
    "softmax forward": Kernel(
        softmax_kernels.forward_short,
        softmax_kernels.forward_long,
        softmax.forward_blocks,
        {"LOG": False, "ROUND": False},
    ),
    "log_softmax backward": Kernel(
        softmax_kernels.backward_short,
        softmax_kernels.backward_long,
        softmax.backward_blocks,
        {"LOG": True},
    ),
    "softmax backward": Kernel(
        softmax_kernels.backward_short,
        softmax_kernels.backward_long,
        softmax.backward_blocks,
        {"LOG": False},
    ),
    "rms_norm forward": Kernel(
        forward_kernels.forward_short,
        forward_kernels.forward_long,
        rms_norm.forward_blocks,
        {"LATE": False, "HAS_WEIGHT": True},
    ),
    "rms_norm backward": Kernel(
        backward_kernels.backward_short,
        backward_kernels.backward_long,
        _backward_blocks(weight_grad=True),
        {"LATE": True, "HAS_WEIGHT": True, "X_GRAD": True, "W_GRAD": True},
    ),
    "rms_norm backward, weight frozen": Kernel(
        backward_kernels.backward_short,
        backward_kernels.backward_long,
        _backward_blocks(weight_grad=False),
        {"LATE": False, "HAS_WEIGHT": True, "X_GRAD": True, "W_GRAD": False},
    ),
}
kernels = pytest.mark.parametrize("name", list(KERNELS))


def compiled(
    name: str, cols: int, dtype: str, arch: int, signature: str = "aligned", levels: int = 1
) -> Compiled:
    kernel = KERNELS[name]
    blocks = kernel.blocks(cols)
    function = kernel.short if blocks.whole else kernel.long
    constants = kernel.constants | {
        "LEVELS": levels, "PRECISE": dtype == "fp32", "VECTOR": 16 // SIZE[dtype],
        "BLOCK_ROWS": blocks.rows, "BLOCK_COLS": blocks.cols,
        "REVERSED": cols > softmax.MOST_FORWARDS,
        "TEAM": team_of(cols, blocks.cols)[0], "POLLS": POLLS,
        "STAGES": 3 if _two_tiles_fit(blocks, SIZE[dtype], arch) else 2,
    }  # fmt: skip
    if "frozen" in name:
        constants["STAGES"] = 1
    return specialised(function, constants, blocks.warps, dtype, arch, signature, levels)


def _two_tiles_fit(blocks: Blocks, size: int, arch: int) -> bool:
    return tiles_fit(2, blocks, 2 * size, SHARED_LIMIT[arch])


@kernels
@pytest.mark.parametrize("cols", COLUMNS)
@pytest.mark.parametrize(
    ("arch", "dtype"), [(90, "bf16"), (90, "fp16"), (90, "fp32"), (80, "bf16"), (100, "bf16")]
)
def test_aligned_rows_move_16_bytes_and_spill_nothing(
    name: str, cols: int, arch: int, dtype: str
) -> None:
    result = compiled(name, cols, dtype, arch)
    assert_fits(result, arch)
    assert 16 in result.accesses("ld")
    assert 16 in result.accesses("st")


@kernels
@pytest.mark.parametrize("cols", [1024, 8192, 131072])
@pytest.mark.parametrize("arch", [86, 89, 120])
def test_smaller_shared_memory(name: str, cols: int, arch: int) -> None:
    assert_fits(compiled(name, cols, "fp32", arch), arch)


@kernels
@pytest.mark.parametrize("cols", [1, 33, 8192, 65537])
def test_unaligned_rows_move_single_elements(name: str, cols: int) -> None:
    result = compiled(name, cols, "bf16", 90, "unaligned")
    assert_fits(result, 90)
    assert max(result.accesses("st")) <= 4  # 4: the float32 parts of a weight's gradient


@kernels
@pytest.mark.parametrize("cols", [1, 64, 131072])
def test_all_sizes_and_strides_one(name: str, cols: int) -> None:
    assert_fits(compiled(name, cols, "bf16", 90, "ones"), 90)


@kernels
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("cols", [128, 8192, 131072])
def test_leading_dimensions_that_do_not_merge(name: str, levels: int, cols: int) -> None:
    result = compiled(name, cols, "bf16", 90, levels=levels)
    assert_fits(result, 90)
    assert 16 in result.accesses("st")


@pytest.mark.parametrize("cols", [10240, 12288, 14336, 16384, 20480, 28672, 32768])
@pytest.mark.parametrize("arch", [80, 90, 100])
@pytest.mark.parametrize("late", [False, True])
def test_rms_norm_backward_in_chunks(cols: int, arch: int, late: bool) -> None:
    chunks = rms_norm.backward_blocks(cols, True, halves=True, hopper=arch == 90)
    assert isinstance(chunks, rms_norm.Chunks) and chunks.number * chunks.cols == cols
    constants = {
        "LATE": late, "X_GRAD": True, "CHUNKS": chunks.number, "CHUNK": chunks.cols,
        "AHEAD": chunks.ahead,
    }  # fmt: skip
    result = specialised(
        chunk_kernels.backward_chunks, constants, chunks.warps, "bf16", arch, levels=3
    )
    # dweight takes all registers that there are: a few more or less, by ptxas's mood
    assert result.stack <= 32
    assert result.shared <= SHARED_LIMIT[arch]
    widest = min(16, chunks.cols * 2 // (32 * chunks.warps))
    assert widest in result.accesses("ld") & result.accesses("st")


@pytest.mark.parametrize("arch", [75, 80, 90, 100])
def test_the_sum_of_parts(arch: int) -> None:
    result = compile_kernel(
        backward_kernels.sum_parts,
        {"parts_ptr": "*fp32", "out_ptr": "*bf16", "parts": "i32", "cols": "i32"},
        {"BLOCK_ROWS": 64, "BLOCK_COLS": 32},
        warps=4,
        arch=arch,
        divisible=("parts_ptr", "out_ptr", "cols"),
    )
    assert result.stack == 0
    assert 16 in result.accesses("ld")


def test_a_spill_would_be_seen() -> None:
    """The check itself: a row too long for one program's registers must show as stack."""
    types = dict.fromkeys(("dy_ptr", "y_ptr", "dx_ptr"), "*bf16")
    names = [n for n in softmax_kernels.backward_short.arg_names if n.islower() and n not in types]
    result = compile_kernel(
        softmax_kernels.backward_short,
        types | dict.fromkeys(names, "i32"),
        {
            "LEVELS": 1,
            "LOG": False,
            "PRECISE": False,
            "BLOCK_ROWS": 1,
            "BLOCK_COLS": 65536,
        },
        warps=32,
        divisible=(*types, *names),
    )
    assert result.stack > 0
