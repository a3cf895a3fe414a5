"""Products with integer weights compiled for GPUs that are not here: no spills, wide loads."""

from __future__ import annotations

from typing import NamedTuple

import pytest

pytest.importorskip("triton", reason="no Triton here")

from cudalint.kernels._quantized import launches, triton_kernels
from tests.kernels.ahead_of_time import SIZE, Compiled, assert_fits, compile_kernel


class Case(NamedTuple):
    layout: str
    dtype: str = "bf16"
    rows: int = 1
    group: int = 128
    arch: int = 90
    signature: str = "aligned"


INPUTS = 8192


def compiled(case: Case) -> Compiled:
    groups = INPUTS // case.group
    blocks = launches.tile(case.layout, case.rows, case.group, groups, SIZE[case.dtype])
    step = launches.steps(case.layout, blocks)[1]
    function = {"int8": triton_kernels.int8, "awq": triton_kernels.awq}.get(
        case.layout, triton_kernels.gptq
    )
    pointer = f"*{case.dtype}"
    types = {n: pointer for n in function.arg_names if n.endswith("_ptr")}
    types |= {"weight_ptr": "*i8" if case.layout == "int8" else "*i32", "zeros_ptr": "*i32"}
    numbers = [n for n in function.arg_names if n.islower() and n not in types]
    types |= dict.fromkeys(numbers, "i32")
    constants: dict[str, object] = {
        "GROUPED": groups > 1, "PER_BLOCK": max(step // case.group, 1), "ZEROS": True, "LESS": 1.0,
        "BIAS": True, "EVEN": case.signature == "aligned", "WIDE": False, "STAGES": blocks.stages, "BLOCK_M": blocks.rows,
        "BLOCK_N": blocks.cols, "BLOCK_K": blocks.depth,
    }  # fmt: skip
    constants = {name: value for name, value in constants.items() if name in function.arg_names}
    counts = ("rows", "row_blocks", "splits", "groups")
    return compile_kernel(
        function, types, constants, warps=blocks.warps, arch=case.arch,
        divisible=[n for n in types if n not in counts] if case.signature == "aligned" else (),
        ones=[n for n in numbers if n in counts] if case.signature == "ones" else (),
    )  # fmt: skip


LAYOUTS = ("int8", "gptq", "awq")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "rows"), [("bf16", 1), ("fp16", 64), ("fp32", 8)])
def test_aligned_weights_move_16_bytes_and_go_straight_to_tensor_cores(
    layout: str, dtype: str, rows: int
) -> None:
    result = compiled(Case(layout, dtype, rows))
    assert_fits(result, 90)
    assert max(result.accesses("ld")) >= (8 if dtype == "fp32" else 16)
    assert layout != "awq" or 8 not in result.accesses("ld")  # the weight, not only x
    assert "mma.sync" in result.ptx or "wgmma" in result.ptx
    # what is put in another order for tensor cores is written to shared memory first
    assert dtype == "fp32" or result.ptx.count("st.shared") < 48


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "group"), [("bf16", 32), ("fp32", 32)])
def test_small_groups(layout: str, dtype: str, group: int) -> None:
    assert_fits(compiled(Case(layout, dtype, 64, group)), 90)


@pytest.mark.parametrize("arch", [80, 86, 89, 100, 120])
@pytest.mark.parametrize("layout", ["int8", "gptq"])
def test_other_architectures(layout: str, arch: int) -> None:
    assert_fits(compiled(Case(layout, rows=64, arch=arch)), arch)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("signature", "dtype"), [("unaligned", "fp32"), ("ones", "bf16")])
def test_other_sizes(layout: str, signature: str, dtype: str) -> None:
    assert_fits(compiled(Case(layout, dtype, signature=signature)), 90)


def test_the_sum_of_shares() -> None:
    types = {"parts_ptr": "*fp32", "bias_ptr": "*bf16", "out_ptr": "*bf16"}
    types |= dict.fromkeys(("count", "outputs", "splits"), "i32")
    constants = {"BIAS": True, "BLOCK_S": 16, "BLOCK": launches.ADD_BLOCK}
    divisible = [name for name in types if name != "splits"]
    for ones in ((), ("count", "outputs")):
        result = compile_kernel(
            triton_kernels.add_shares, types, constants, warps=4, divisible=divisible, ones=ones
        )
        assert_fits(result, 90)
