"""The opaque operators on the CPU, compilation, vmap, refusals, and what importing brings along."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from cudalint import kernels
from cudalint.fixes.fusion._kernels import WITHOUT_KERNEL
from cudalint.kernels import (
    cross_entropy,
    geglu,
    geglu_packed,
    kernel_info,
    list_kernels,
    log_softmax,
    rms_norm,
    rope,
    softmax,
    swiglu,
)
from cudalint.kernels._cross_entropy.registration import TransformedCrossEntropy
from cudalint.kernels._dispatch import must_dispatch
from cudalint.kernels._glu.registration import TransformedGLU, TransformedPackedGLU
from cudalint.kernels._rms_norm.registration import TransformedRMSNorm
from cudalint.kernels._rope.registration import TransformedRope
from cudalint.kernels._softmax.registration import TransformedSoftmax

OPS = torch.ops.cudalint


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("log", [False, True])
def test_opcheck_softmax(dtype: torch.dtype, log: bool) -> None:
    x = torch.randn(3, 5, requires_grad=True)
    opcheck(OPS.softmax, (x, dtype, log))
    opcheck(OPS.softmax, (torch.randn(2, 3, 4).transpose(0, 1).requires_grad_(), dtype, log))
    y = OPS.softmax(x, dtype, log).detach()
    opcheck(OPS.softmax_backward, (y, y, torch.float32, log))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("weight_dtype", [None, torch.float32, torch.bfloat16])
def test_opcheck_rms_norm(late: bool, weight_dtype: torch.dtype | None) -> None:
    weight = None if weight_dtype is None else torch.randn(5).to(weight_dtype).requires_grad_()
    x = torch.randn(3, 5, requires_grad=True)
    opcheck(OPS.rms_norm, (x, weight, 1e-6, late, 0.0))
    opcheck(OPS.rms_norm, (x.detach().bfloat16().t().contiguous().t(), weight, 1e-6, late, 0.0))
    opcheck(OPS.rms_norm, (torch.randn(2, 3, 5).transpose(0, 1), weight, 1e-6, late, 0.0))
    x, weight = x.detach(), None if weight is None else weight.detach()
    for flags in (
        ((True, False),) if weight is None else ((True, False), (True, True), (False, True))
    ):
        opcheck(OPS.rms_norm_backward, (x, x, weight, 1e-6, late, 0.0, *flags))


@pytest.mark.parametrize("kind", ["silu", "gelu", "gelu_tanh"])
def test_opcheck_glu(kind: str) -> None:
    gate, up = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    for operands in ((gate, up), (gate, up.bfloat16()), (gate, up.detach()), (gate.t(), up.t())):
        opcheck(OPS.glu, (*operands, kind))
    opcheck(OPS.glu_packed, (gate, False, kind))
    opcheck(OPS.glu_packed, (torch.randn(2, 3, 4).transpose(0, 1).requires_grad_(), True, kind))
    gate, up = gate.detach(), up.detach()
    for flags in ((True, True), (True, False), (False, True)):
        opcheck(OPS.glu_backward, (up, gate, up, kind, *flags))
    opcheck(OPS.glu_packed_backward, (up[:, :2], gate, True, kind))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("half_table", [False, True])
def test_opcheck_apply_rope(interleaved: bool, half_table: bool) -> None:
    q = torch.randn(2, 5, 4, 8).transpose(1, 2).requires_grad_()
    k = torch.randn(2, 1, 5, 10, requires_grad=True)
    cos, sin = (torch.randn(5, 4 if half_table else 8) for _ in range(2))
    form, f32, f16 = (interleaved, half_table), torch.float32, torch.float16
    opcheck(OPS.apply_rope, (q, k, cos, sin, *form, f32, f32))
    opcheck(OPS.apply_rope, (q, k.detach().bfloat16(), cos, sin, *form, f16, f32))
    opcheck(OPS.apply_rope, (q, None, cos, sin, *form, f32, f32))
    opcheck(OPS.apply_rope_backward, (q.detach(), k.detach(), cos, sin, *form, f32, f16))
    opcheck(OPS.apply_rope_backward, (q.detach(), None, cos, sin, *form, f32, f32))


def operator_calls() -> dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]]:
    """Each operator beside its reference, as functions of (x, weight)."""
    return {
        "softmax": (lambda x, w: OPS.softmax(x, x.dtype, False), lambda x, w: softmax(x)),
        "log_softmax": (lambda x, w: OPS.softmax(x, x.dtype, True), lambda x, w: log_softmax(x)),
        "rms_norm": (lambda x, w: OPS.rms_norm(x, w, 1e-6, False, 0.0), rms_norm),
        "swiglu": (lambda x, w: OPS.glu(x, x * w, "silu"), lambda x, w: swiglu(x, x * w)),
        "geglu": (
            lambda x, w: OPS.glu(x * w, x, "gelu_tanh"),
            lambda x, w: geglu(x * w, x, approximate="tanh"),
        ),
        "rope": (
            lambda x, w: _rope(x, w.detach()),
            lambda x, w: rope(x, w[:2].detach(), w[2:4].detach(), table="half"),
        ),
        "cross_entropy": (
            lambda x, w: _cross_entropy(x),
            lambda x, w: cross_entropy(
                x,
                torch.tensor([1, -100, 4]).expand(x.shape[:-1]),
                label_smoothing=0.1,
                reduction="none",
                softcap=5.0,
                z_loss=0.01,
            ),
        ),
        "geglu_packed": (
            lambda x, w: OPS.glu_packed(torch.cat((x * w, x), -1), False, "gelu"),
            lambda x, w: geglu_packed(torch.cat((x * w, x), -1), gate_first=False),
        ),
    }


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [(0.0, None, 0.0), (0.1, 5.0, 0.01)])
def test_opcheck_cross_entropy(reduction: str, options: tuple[float, float | None, float]) -> None:
    logits = torch.randn(2, 4, 5, requires_grad=True)
    target = torch.tensor([[0, 4, 1], [-100, 2, 3]], dtype=torch.int32)
    form = (-100, options[0], reduction, *options[1:])
    opcheck(OPS.cross_entropy, (logits[:, 1:], target, *form))
    opcheck(OPS.cross_entropy, (logits.detach()[:, 1:].bfloat16().requires_grad_(), target, *form))
    logits = logits.detach()[:, 1:]
    loss, *kept = OPS.cross_entropy(logits, target, *form)
    opcheck(OPS.cross_entropy_backward, (loss, logits, target, *kept, *form))


def _cross_entropy(x: Tensor, run: Callable[..., Any] = OPS.cross_entropy) -> Tensor:
    target = torch.tensor([1, -100, 4]).expand(x.shape[:-1])
    loss: Tensor = run(x, target, -100, 0.1, "none", 5.0, 0.01)[0]
    return loss


def _rope(x: Tensor, w: Tensor) -> Tensor:
    y, _ = OPS.apply_rope(x, None, w[:2], w[2:4], False, True, x.dtype, x.dtype)
    return y


operators = pytest.mark.parametrize("name", list(operator_calls()))


@operators
def test_operator_and_reference_agree_with_gradients(name: str) -> None:
    operator, reference = operator_calls()[name]
    x, w = torch.randn(3, 5, requires_grad=True), torch.randn(5, requires_grad=True)
    dy = torch.randn(3) if name == "cross_entropy" else torch.randn(3, 5)
    leaves = (x, w) if name == "rms_norm" or "glu" in name else (x,)
    ours, expected = operator(x, w), reference(x, w)
    torch.testing.assert_close(ours, expected)
    for needed in ((x,), leaves, leaves[-1:]):
        torch.testing.assert_close(
            torch.autograd.grad(ours, needed, dy, retain_graph=True),
            torch.autograd.grad(expected, needed, dy, retain_graph=True),
        )


@operators
def test_double_backward_of_the_operators_raises(name: str) -> None:
    x, w = torch.randn(3, 5, requires_grad=True), torch.randn(5)
    y = operator_calls()[name][0](x, w)
    (dx,) = torch.autograd.grad(y.pow(2).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="accepted: one backward pass"):
        dx.sum().backward()


@operators
def test_vmap_of_the_operators_is_a_loop(name: str) -> None:
    operator, reference = operator_calls()[name]
    x, w = torch.randn(4, 3, 5), torch.randn(5)
    loop = torch.stack([reference(part, w) for part in x])
    for function in (operator, reference):
        torch.testing.assert_close(torch.func.vmap(function, in_dims=(0, None))(x, w), loop)


def transformed_calls() -> dict[str, Callable[..., Tensor]]:
    """What runs on a GPU under torch.func."""
    return {
        "softmax": lambda x, w: TransformedSoftmax.apply(x, x.dtype, False),
        "log_softmax": lambda x, w: TransformedSoftmax.apply(x, x.dtype, True),
        "rms_norm": lambda x, w: TransformedRMSNorm.apply(x, w, 1e-6, False, 0.0),
        "swiglu": lambda x, w: TransformedGLU.apply(x, x * w, "silu"),
        "geglu": lambda x, w: TransformedGLU.apply(x * w, x, "gelu_tanh"),
        "rope": lambda x, w: TransformedRope.apply(
            x, None, w[:2], w[2:4], False, True, x.dtype, x.dtype
        )[0],
        "cross_entropy": lambda x, w: _cross_entropy(x, TransformedCrossEntropy.apply),
        "geglu_packed": lambda x, w: TransformedPackedGLU.apply(
            torch.cat((x * w, x), -1), False, "gelu"
        ),
    }


@operators
def test_function_transforms(name: str) -> None:
    reference, transformed = operator_calls()[name][1], transformed_calls()[name]
    x, w = torch.randn(4, 3, 5), torch.randn(5)

    def gradients(function: Callable[..., Tensor]) -> list[Tensor]:
        def loss(x: Tensor, w: Tensor) -> Tensor:
            return function(x, w).pow(3).sum()

        y, pull = torch.func.vjp(lambda x: function(x, w), x)
        return [
            torch.func.grad(loss)(x, w),
            torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(x, w),
            torch.func.vmap(function, in_dims=(0, None))(x, w),
            pull(y)[0],
        ]

    torch.testing.assert_close(gradients(transformed), gradients(reference))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_in_one_graph(dynamic: bool) -> None:
    """The operators and the references, forward and backward, in one compilation."""
    torch._dynamo.reset()

    def program(x: Tensor, w: Tensor) -> Tensor:
        y = rms_norm(x * 2.0, w)
        y = OPS.softmax(y, torch.float32, False) + softmax(y)
        return OPS.rms_norm(y, w, 1e-6, True, 0.0) + log_softmax(y, 0)

    x, w = torch.randn(3, 64, requires_grad=True), torch.randn(64, requires_grad=True)
    dy = torch.randn(3, 64)
    compiled = torch.compile(program, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    ours, expected = compiled(x, w), program(x, w)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (x, w), dy), torch.autograd.grad(expected, (x, w), dy)
    )


def test_compiled_by_inductor() -> None:
    """Once through the real compiler: the operator must survive lowering, neighbours fused."""
    torch._dynamo.reset()

    def program(x: Tensor) -> Tensor:
        return OPS.softmax(x * 2.0, torch.float32, False) + 1.0

    x = torch.randn(3, 64)
    torch.testing.assert_close(torch.compile(program, fullgraph=True)(x), program(x))


def test_subclasses_modes_transforms_and_traces_go_through_the_dispatcher() -> None:
    class Marked(Tensor):
        pass

    x = torch.randn(3)
    assert not must_dispatch(x, None, torch.nn.Parameter(x))
    assert must_dispatch(x.as_subclass(Marked))
    with torch._subclasses.FakeTensorMode():
        assert must_dispatch(x)
    with torch.overrides.BaseTorchFunctionMode():
        assert must_dispatch(x)
    seen: list[bool] = []
    torch.func.vmap(lambda part: (seen.append(must_dispatch(x)), part)[1])(torch.ones(2, 1))
    torch.jit.trace(lambda part: (seen.append(must_dispatch(x)), part * 2)[1], x, check_trace=False)
    assert seen == [True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_under_autocast_are_those_of_the_hand_written_form(dtype: torch.dtype) -> None:
    x, w = torch.randn(3, 5).to(dtype), torch.randn(5).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        e = torch.exp(x - x.amax(-1, keepdim=True))
        assert softmax(x).dtype == (e / e.sum(-1, keepdim=True)).dtype
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        assert rms_norm(x, w).dtype == (w * normed.to(dtype)).dtype


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: softmax(torch.ones(2, dtype=torch.int32)), "softmax: x has dtype torch.int32"),
    (lambda: softmax(torch.ones(2), 1), "softmax: dim is 1; accepted: -1 to 0"),
    (lambda: softmax(torch.ones(2, 2), -3), "softmax: dim is -3; accepted: -2 to 1"),
    (lambda: log_softmax(torch.ones(2), dtype=torch.int8), "log_softmax: dtype is torch.int8"),
    (lambda: rms_norm(torch.ones(())), "x has no dimensions"),
    (lambda: rms_norm(torch.ones(2, dtype=torch.complex64)), "x has dtype torch.complex64"),
    (lambda: rms_norm(torch.ones(2), torch.ones(3)), r"weight has shape \(3,\); accepted: \(2,\)"),
    (lambda: rms_norm(torch.ones(2), torch.ones(1, 2)), r"weight has shape \(1, 2\)"),
    (lambda: rms_norm(torch.ones(2), torch.ones(2, dtype=torch.int64)), "weight has dtype"),
    (lambda: rms_norm(torch.ones(2), torch.ones(2, device="meta")), "weight is on meta"),
    (lambda: rms_norm(torch.ones(2), cast="early"), "cast is 'early'; accepted: 'llama'"),  # type: ignore[arg-type]
    (lambda: rms_norm(torch.ones(2), torch.ones(2), weight_offset=1.0), "weight_offset is 1.0"),
    (lambda: rms_norm(torch.ones(2), cast="late", weight_offset=1.0), "weight_offset is 1.0"),
    (lambda: kernel_info("softmx"), "no kernel is named 'softmx'; the nearest is 'softmax'"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_refusals_say_what_is_accepted(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_every_public_function_is_in_the_catalogue_and_documented() -> None:
    helpers = {"KernelInfo", "Patched", "kernel_info", "list_kernels"}
    functions = {name: getattr(kernels, name) for name in kernels.__all__ if name not in helpers}
    assert sorted(functions) == list_kernels()
    for name, function in functions.items():
        info = kernel_info(name)
        assert info.name == name and info.forward and info.backward and info.compiled
        for operator in info.operators:
            assert hasattr(OPS, operator.partition("::")[2])
        assert function.__doc__ is not None and "float64" in function.__doc__ + str(info)


def test_fixes_know_which_functions_have_no_kernel() -> None:
    """Such a fix waits to be asked for by name: a reference makes nothing faster."""
    references = {name for name in list_kernels() if "reference" in kernel_info(name).forward}
    assert references == WITHOUT_KERNEL


def test_importing_and_running_on_the_cpu_imports_neither_triton_nor_the_linter() -> None:
    program = """
import sys, torch
from cudalint.kernels import attention, rms_norm, softmax
x = torch.randn(2, 3, 4, requires_grad=True)
attention(rms_norm(softmax(x)), x, x, is_causal=True).sum().backward()
print(sorted(m for m in sys.modules if m.partition('.')[0] == 'triton'
             or m.startswith('cudalint.') and not m.startswith('cudalint.kernels')))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_the_include_folder_is_printed() -> None:
    command = [sys.executable, "-m", "cudalint.kernels", "--include"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (Path(run.stdout.strip()) / "cudalint/vector.cuh").is_file()
    bare = subprocess.run(command[:-1], capture_output=True, text=True, check=False)
    assert bare.returncode == 2 and "--include" in bare.stderr
