"""Attention compiled for GPUs that are not here: no spills, shared memory within the limit."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

pytest.importorskip("triton", reason="no Triton here")

from cudalint.kernels._attention import backward_kernels, bias_kernel, forward_kernel
from cudalint.kernels._attention.blocks import WIDEST_OF_BOTH, Blocks, blocks_of
from cudalint.kernels._blocks import next_power_of_two
from tests.kernels.ahead_of_time import (
    SHARED_LIMIT,
    SIZE,
    Compiled,
    assert_fits,
    compile_kernel,
)

KERNELS: dict[str, Any] = {
    "forward": forward_kernel.forward,
    "keys": backward_kernels.keys_backward,
    "values": backward_kernels.keys_backward,
    "queries": backward_kernels.queries_backward,
    "rest of delta": backward_kernels.queries_backward,
    "bias": bias_kernel.bias_backward,
}
NAMES = ("SOFTCAP", "BIAS", "MASK", "ALIBI", "SINKS", "DROPOUT", "LEFT", "RIGHT")
# What people use, and everything at once.
FEATURES = {
    "window": {"LEFT": True, "RIGHT": True},
    "softcap": {"SOFTCAP": True, "RIGHT": True},
    "alibi": {"ALIBI": 2, "RIGHT": True},
    "sinks": {"SINKS": True, "LEFT": True, "RIGHT": True},
    "bias": {"BIAS": True, "DROPOUT": True},
    "mask": {"MASK": 2, "SOFTCAP": True},
    "all": dict.fromkeys(NAMES, True) | {"MASK": 1},
}
FLOATS = ("scale", "softcap", "kept_scale", "dscale")
FLOAT32 = ("lse_ptr", "delta_ptr", "slopes_ptr", "sinks_ptr")


def compiled(
    kernel: str, features: str, width: int, dtype: str = "bf16", arch: int = 90,
    signature: str = "aligned", blocks: Blocks | None = None,
) -> Compiled:  # fmt: skip
    function = KERNELS[kernel]
    names = function.arg_names
    tile = blocks or blocks_of(
        arch // 10,
        "queries" if kernel == "rest of delta" else kernel,
        width,
        SIZE[dtype],
        4096,
        bool({"BIAS", "MASK"} & set(FEATURES[features])),
    )
    types = {n: f"*{dtype}" for n in names if n.endswith("_ptr")}
    types |= {n: "*fp32" for n in FLOAT32 if n in names} | {"mask_ptr": f"*{dtype}"}
    types |= {"seed_ptr": "*i64"} | {n: "fp32" for n in FLOATS if n in names}
    numbers = [n for n in names if n not in types and n.islower()]
    types |= dict.fromkeys(numbers, "i32")
    constants = dict.fromkeys(NAMES, False) | {"MASK": 0} | FEATURES[features]
    if constants["MASK"] == 2:
        types["mask_ptr"] = "*i1"
    rounded = max(next_power_of_two(width), 16)
    constants |= {
        "WIDTH": width, "V_WIDTH": width, "PRECISE": dtype == "fp32", "PRECISION": "ieee",
        "WIDEN": False, "QUERY_GRAD": kernel == "queries", "KEY_GRAD": kernel == "keys",
        "VALUE_GRAD": kernel == "values" or rounded <= WIDEST_OF_BOTH, "ROWS": True, "COLS": True,
        "BLOCK_I": tile.i, "BLOCK_J": tile.j, "BLOCK_D": rounded, "BLOCK_E": rounded,
    }  # fmt: skip
    steps = [n for n in numbers if n.endswith(("_i", "_j", "_h", "_b")) and not n.endswith("_j")]
    divisible = [n for n in types if n.endswith("_ptr")] + steps + ["k_j", "v_j", "queries", "keys"]
    last = [n for n in ("bias_j", "mask_j", "dbias_j", "slopes_h") if n in names]
    return compile_kernel(
        function,
        {n: kind for n, kind in types.items() if n in names},
        {n: value for n, value in constants.items() if n in names},
        warps=tile.warps,
        arch=arch,
        divisible=[n for n in divisible if n in names] if signature == "aligned" else (),
        ones=numbers if signature == "ones" else last,
        stages=tile.stages,
    )


# Which kernels there are at a width.
PASSES = {
    64: ("forward", "keys", "queries"),
    128: ("forward", "keys", "queries"),
    256: ("forward", "keys", "values", "queries"),
}
CASES = [(kernel, width) for width, kernels in PASSES.items() for kernel in kernels]
cases = pytest.mark.parametrize(("kernel", "width"), CASES)


def test_tiles_lie_within_128_queries() -> None:
    """What ALiBi leaves out of a row's scores goes by blocks of 128: see `score_tile`."""
    for arch, kernel, width, scored in itertools.product(
        (8, 9, 10), KERNELS, PASSES, (True, False)
    ):
        if kernel in PASSES[width]:
            assert 128 % blocks_of(arch, kernel, width, 2, 4096, scored).i == 0


@cases
@pytest.mark.parametrize("features", ["window", "softcap"])
def test_what_people_use_spills_nothing(kernel: str, width: int, features: str) -> None:
    result = compiled(kernel, features, width)
    if (kernel, width, features) == ("forward", 256, "window"):
        # 32 bytes at the edges; the tile that spills nothing took 1.2 times as long as this with 16
        assert result.stack <= 32 and result.shared <= SHARED_LIMIT[90]
    else:
        assert_fits(result, 90)


@cases
def test_everything_at_once_spills_nothing(kernel: str, width: int) -> None:
    assert_fits(compiled(kernel, "all", width), 90)


@pytest.mark.parametrize("width", [64, 256])
def test_the_gradient_of_a_bias(width: int) -> None:
    assert_fits(compiled("bias", "all", width), 90)


@pytest.mark.parametrize("arch", [86, 100, 120])
@pytest.mark.parametrize(("kernel", "width"), [c for c in CASES if c[1] > 64])
def test_other_architectures(kernel: str, width: int, arch: int) -> None:
    """80 and 89 compile as 86 does, and have at least as much shared memory."""
    assert_fits(compiled(kernel, "window", width, arch=arch), arch)


@pytest.mark.parametrize("kernel", ["forward", "keys", "queries"])
@pytest.mark.parametrize("signature", ["unaligned", "ones"])
def test_other_strides(kernel: str, signature: str) -> None:
    """Rows that no vector fits are loaded number by number, whose addresses take registers."""
    result = compiled(kernel, "sinks", 80, signature=signature)
    assert result.shared <= SHARED_LIMIT[90]
    assert signature == "unaligned" or result.stack == 0


@pytest.mark.parametrize("kernel", ["forward", "keys", "queries"])
def test_other_dtypes(kernel: str) -> None:
    """Products of float32 hold their operands in registers: from 128 on they spill."""
    assert_fits(compiled(kernel, "alibi", 128, "fp16"), 90)
    assert_fits(compiled(kernel, "window", 64, "fp32"), 90)
    assert compiled(kernel, "window", 256, "fp32").shared <= SHARED_LIMIT[86]


@pytest.mark.parametrize("arch", [86, 90, 100])
def test_the_rest_of_delta(arch: int) -> None:
    assert_fits(compiled("rest of delta", "window", 64, "fp32", arch=arch), arch)
