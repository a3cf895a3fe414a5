"""Products with integer weights in Triton's interpreter: run by test_interpreter.py.

The interpreter truncates where bfloat16 should round, hence one more bit of tolerance there.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cudalint.kernels import quantize_int4, quantize_int8
from cudalint.kernels._quantized import launches, registration
from cudalint.kernels._quantized.layouts import INT4_LAYOUTS
from cudalint.kernels._quantized.reference import Weight, expanded
from tests.kernels.inputs import DTYPES, guarded_empty, poisoned_empty

TOLERANCE = {torch.float32: 3e-6, torch.float16: 2e-3, torch.bfloat16: 2**-6}
LAYOUTS = ("int8", *INT4_LAYOUTS)


def weight_of(
    layout: str, outputs: int, inputs: int, group: int | None, dtype: torch.dtype
) -> Weight:
    numbers = torch.randn(outputs, inputs).to(dtype)
    size = inputs if group is None else group
    if layout == "int8":
        return Weight(*quantize_int8(numbers, group), None, None, size, layout)
    qweight, scales, zeros = quantize_int4(numbers, size, layout=layout)  # type: ignore[arg-type]
    return Weight(qweight, scales, zeros, None, size, layout)


def check(x: Tensor, weight: Weight, bias: Tensor | None = None) -> None:
    before = [t.clone() for t in (x, weight.qweight, weight.scales)]
    with poisoned_empty():
        ours = launches.linear(x, weight, bias)
    exact = x.double() @ expanded(weight, torch.float64).T
    exact = exact if bias is None else exact + bias.double()
    scale = float(exact.abs().max())
    tolerance = TOLERANCE[x.dtype]
    torch.testing.assert_close(ours.double(), exact, rtol=tolerance, atol=tolerance * scale)
    assert ours.dtype == x.dtype
    after = (x, weight.qweight, weight.scales)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.fixture(autouse=True)
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few inputs make several shares already."""
    monkeypatch.setattr(launches, "FEWEST", 1)
    monkeypatch.setattr(launches, "FILLS", dict.fromkeys(LAYOUTS, launches.Fill(6, 12)))
    monkeypatch.setattr(launches, "_known", {})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_share(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "MOST_SPLITS", 1)
    weight = weight_of(layout, 40, 256, 128, torch.float16)
    check(torch.randn(3, 256).half(), weight, torch.randn(40))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_bias(layout: str, dtype: torch.dtype) -> None:
    weight = weight_of(layout, 72, 256, 128, dtype)
    check(torch.randn(3, 256).to(dtype), weight)
    check(torch.randn(2, 2, 256).to(dtype).transpose(0, 1), weight, torch.randn(72).half())


GROUPS = [(layout, group) for layout in LAYOUTS for group in (32, 64, 192)]
GROUPS += [("int8", 96), ("awq", 96)]


@pytest.mark.parametrize(("layout", "group"), GROUPS)
def test_groups(layout: str, group: int) -> None:
    check(torch.randn(2, 192), weight_of(layout, 40, 192, group, torch.float32))
    check(torch.randn(2, 192).half(), weight_of(layout, 40, 192, group, torch.float16))


@pytest.mark.parametrize(("layout", "group"), [("int8", None), ("gptq", 200), ("gptq", 256)])
def test_inputs_that_no_block_divides(layout: str, group: int | None) -> None:
    inputs = group or 200
    check(torch.randn(2, inputs), weight_of(layout, 24, inputs, group, torch.float32))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [1, 17, 40])
def test_rows(layout: str, rows: int) -> None:
    weight = weight_of(layout, 40, 64, 64, torch.float16)
    check(torch.randn(rows, 72).half()[:, 8:], weight, torch.randn(40))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_that_begin_anywhere(layout: str) -> None:
    weight = weight_of(layout, 40, 64, 64, torch.float16)
    check(torch.randn(3, 67).half()[:, 3:], weight)
    check(torch.randn(1, 65).half()[:, 1:], weight)


@pytest.mark.parametrize("layout", INT4_LAYOUTS)
def test_no_zeros(layout: str) -> None:
    check(torch.randn(2, 64), weight_of(layout, 16, 64, 32, torch.float32)._replace(zeros=None))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_numbers_that_four_and_eight_bits_hold(layout: str) -> None:
    weight = weight_of(layout, 64, 256, 64, torch.float32)
    kind = weight.qweight.dtype
    info = torch.iinfo(kind)
    numbers = torch.randint(info.min, info.max + 1, weight.qweight.shape, dtype=torch.int64)
    zeros = weight.zeros
    if zeros is not None:
        zeros = torch.randint(-(2**31), 2**31, zeros.shape).to(torch.int32)
    check(torch.randn(2, 256), weight._replace(qweight=numbers.to(kind), zeros=zeros))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nan_stays_in_its_row_and_nothing_is_written_outside(layout: str) -> None:
    weight = weight_of(layout, 40, 64, 32, torch.float32)
    x = torch.randn(3, 64)
    expected = launches.linear(x, weight, None)
    x[1, 5] = torch.nan
    with guarded_empty() as guards:
        ours = launches.linear(x, weight, None)
    assert guards.untouched()
    assert bool(ours[1].isnan().all())
    assert torch.equal(ours[[0, 2]], expected[[0, 2]])


def test_what_the_kernels_take() -> None:
    """On the CPU none; the other conditions are read from what is left."""
    x, weight = torch.randn(2, 64), weight_of("awq", 16, 64, 16, torch.float32)
    assert not registration.kernel_takes(x, None, weight)
