"""Attention to a cache compiled for GPUs that are not here: no spills, wide loads, shared memory."""

from __future__ import annotations

from typing import NamedTuple

import pytest

pytest.importorskip("triton", reason="no Triton here")

from cudalint.kernels._decode import append, append_kernel, launches, triton_kernels
from tests.kernels.ahead_of_time import (
    SHARED_LIMIT,
    SIZE,
    Compiled,
    assert_fits,
    compile_kernel,
)


class Case(NamedTuple):
    """`queries`: heads of a group times tokens; `signature` as of the other kernels, or "wide"."""

    dtype: str = "bf16"
    width: int = 128
    group: int = 4
    tokens: int = 1
    page: int = 0
    options: bool = False
    arch: int = 90
    signature: str = "aligned"
    short: bool = False


def compiled(case: Case) -> Compiled:
    aligned = case.signature != "unaligned"
    blocks = launches.tile(
        case.group * case.tokens, case.width, case.width, SIZE[case.dtype], case.page > 0, aligned,
        SHARED_LIMIT[case.arch], case.short,
    )  # fmt: skip
    padded, function = launches.padded(case.width), triton_kernels.attend
    constants: dict[str, object] = {
        "GROUP": case.group, "TOKENS": case.tokens, "WIDTH": case.width, "VALUE_WIDTH": case.width,
        "PAGE": case.page, "PAGE_OF_BLOCK": case.page > 0 and case.page % blocks.places == 0,
        "SOFTCAP": case.options, "WINDOW": case.options, "DIRECT": False,
        "PRECISE": case.dtype == "fp32", "WIDE": False, "STAGES": blocks.stages,
        "BLOCK_M": blocks.queries, "BLOCK_N": blocks.places, "BLOCK_D": padded, "BLOCK_E": padded,
    }  # fmt: skip
    types = {n: f"*{case.dtype}" for n in function.arg_names if n.endswith("_ptr")}
    types |= {"table_ptr": "*i32", "lengths_ptr": "*i32", "parts_ptr": "*fp32"}
    types |= {"scale": "fp32", "cap": "fp32"}
    numbers = [n for n in function.arg_names if n.islower() and n not in types]
    types |= dict.fromkeys(numbers, "i32")
    if case.signature == "wide":
        types |= {n: "i64" for n in numbers if n.endswith("outer_step") or n == "sums_at"}
    steps = [n for n in numbers if n.endswith("_step") and n[0] in "qkv"]
    pointers = [n for n in types if n.endswith("_ptr")]
    return compile_kernel(
        function, types, constants, warps=blocks.warps, arch=case.arch,
        divisible=[*pointers, *steps] if aligned else (),
        ones=numbers if case.signature == "ones" else ["length_step", "table_step"],
    )  # fmt: skip


SHAPES = [Case(d, w, page=p) for d, w, p in (
    ("bf16", 128, 0), ("fp16", 128, 16), ("fp32", 128, 64), ("bf16", 64, 64), ("fp32", 64, 0),
    ("bf16", 40, 16), ("fp16", 96, 0), ("bf16", 256, 0), ("fp32", 256, 16),
)]  # fmt: skip
SHAPES += [Case(page=page, short=True) for page in (0, 16, 64)]


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_aligned_rows_move_16_bytes_and_spill_nothing(case: Case) -> None:
    result = compiled(case)
    assert_fits(result, 90)
    assert 16 in result.accesses("ld")
    # float32 on a tensor core would be TF32
    assert ("mma" in result.ptx) == (case.dtype != "fp32")


GROUPS = [
    Case("bf16", group=1, options=True), Case("fp32", group=1, options=True),
    Case("fp16", group=4, tokens=4, page=16, options=True, short=True),
    Case("bf16", group=16, tokens=4, page=16, options=True),
    Case("bf16", 256, 64, options=True), Case("fp32", 256, 4, options=True), Case("fp32", 64, 16, page=16),
]  # fmt: skip


@pytest.mark.parametrize("case", GROUPS, ids=str)
def test_groups_tokens_and_options(case: Case) -> None:
    assert_fits(compiled(case), 90)


@pytest.mark.parametrize("arch", [80, 86, 89, 100, 120])
def test_other_architectures(arch: int) -> None:
    for case in (Case(arch=arch), Case("bf16", 256, 16, 4, 16, arch=arch)):
        assert_fits(compiled(case), arch)


SIGNATURES = [
    Case(signature="unaligned", page=16), Case("bf16", 256, 16, 4, 16, True, 90, "unaligned"),
    Case("fp32", 128, 8, page=16, signature="unaligned"), Case(signature="ones", options=True),
    Case(signature="ones", page=16), Case(signature="wide", page=16),
]  # fmt: skip


@pytest.mark.parametrize("case", SIGNATURES, ids=str)
def test_other_strides(case: Case) -> None:
    assert_fits(compiled(case), 90)


@pytest.mark.parametrize("ones", [False, True])
@pytest.mark.parametrize("width", [40, 128, 256])
def test_the_second_pass(ones: bool, width: int) -> None:
    function = triton_kernels.combine
    types = {"parts_ptr": "*fp32", "lengths_ptr": "*i32", "out_ptr": "*bf16"}
    numbers = [n for n in function.arg_names if n.islower() and n not in types]
    types |= dict.fromkeys(numbers, "i32")
    constants: dict[str, object] = {
        "QUERIES": 4, "TOKENS": 1, "VALUE_WIDTH": width, "WINDOW": True, "PRECISE": False,
        "BLOCK_N": 64, "BLOCK_S": launches.COMBINED // launches.padded(width),
        "BLOCK_E": launches.padded(width),
    }  # fmt: skip
    result = compile_kernel(
        function, types, constants, warps=launches.COMBINE_WARPS, divisible=list(types)[:3],
        ones=numbers if ones else (),
    )  # fmt: skip
    assert_fits(result, 90)
    assert 16 in result.accesses("ld")


@pytest.mark.parametrize("page", [0, 16])
@pytest.mark.parametrize("signature", ["aligned", "unaligned", "ones"])
def test_append(page: int, signature: str) -> None:
    function = append_kernel.append
    types = {n: "*bf16" for n in function.arg_names if n.endswith("_ptr")}
    types |= {"table_ptr": "*i32", "lengths_ptr": "*i32"}
    numbers = [n for n in function.arg_names if n.islower() and n not in types]
    types |= dict.fromkeys(numbers, "i32")
    constants: dict[str, object] = {
        "PAGE": page, "HEADS": 8, "WIDTH": 128, "VALUE_WIDTH": 128, "BLOCK_HEADS": 8,
        "BLOCK_WIDTH": 128, "BLOCK_VALUE_WIDTH": 128,
    }  # fmt: skip
    aligned = [n for n in types if n not in ("tokens", "capacity", "table_step")]
    result = compile_kernel(
        function, types, constants, warps=4, divisible=aligned if signature == "aligned" else (),
        ones=numbers if signature == "ones" else (),
    )  # fmt: skip
    assert_fits(result, 90)
    assert signature != "aligned" or result.accesses("st") == {16}


@pytest.mark.parametrize("ones", [False, True])
def test_taking_pages(ones: bool) -> None:
    function = append_kernel.take_pages
    types = {n: "*i64" for n in function.arg_names if n.endswith("_ptr")}
    types |= {"lengths_ptr": "*i32", "free_ptr": "*i32", "table_ptr": "*i32"}
    numbers = [n for n in function.arg_names if n.islower() and n not in types]
    types |= dict.fromkeys(numbers, "i32")
    result = compile_kernel(
        function,
        types,
        {"PAGE": 16, "BLOCK": append.MOST_ROWS},
        warps=1,
        ones=numbers if ones else (),
    )
    assert_fits(result, 90)
