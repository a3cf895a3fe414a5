"""The own attention kernel's operators on the CPU, and which calls take its route."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from cudalint.kernels import attention
from cudalint.kernels._attention import dropout, function, reference, registration, route, written
from cudalint.kernels._attention.reference import Options

OPS = torch.ops.cudalint
B, H, LQ, LK, D = 2, 4, 7, 9, 8
PLAIN = Options(None, 0.0, False, None, True, None, None, None, None, None, "top-left")


def operands(dtype: torch.dtype = torch.float64, lead: tuple[int, ...] = ()) -> list[Tensor]:
    shapes = ((LQ, H), (LK, 2), (LK, 2))
    made = [torch.randn(*lead, B, *shape, D, dtype=dtype) for shape in shapes]
    return [t.transpose(-2, -3).requires_grad_() for t in made]


def every_option(dtype: torch.dtype = torch.float64) -> Options:
    return PLAIN._replace(
        attn_mask=torch.rand(LQ, LK) > 0.3, is_causal=True, scale=0.2, softcap=3.0, window=(4, 2),
        bias=torch.randn(1, H, 1, LK, dtype=dtype, requires_grad=True), alibi_slopes=torch.rand(H),
        sinks=torch.randn(H, dtype=dtype, requires_grad=True), causal_align="bottom-right",
    )  # fmt: skip


CASES = {
    "plain": PLAIN._replace(window=(4, 0)),
    "all": every_option(),
    "a query that sees nothing": PLAIN._replace(
        attn_mask=torch.zeros(LQ, 1).masked_fill(torch.arange(LQ)[:, None] == 3, -torch.inf)
    ),
    "one number a batch": PLAIN._replace(bias=torch.randn(B, 1, 1, 1), sinks=torch.randn(H)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_operators_gradients_are_those_of_the_reference(name: str) -> None:
    options, leaves = CASES[name], operands()
    extras = [t for t in (options.bias, options.sinks) if t is not None and t.requires_grad]
    expected = attention(*leaves, **options._asdict())
    ours = route.attention(*leaves, options)
    torch.testing.assert_close(ours, expected)
    dy = torch.randn_like(ours)
    for a, b in zip(
        *(torch.autograd.grad(out, [*leaves, *extras], dy) for out in (ours, expected)), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lead", [(), (3,)])
def test_scores_written_are_those_of_the_reference(name: str, lead: tuple[int, ...]) -> None:
    options, leaves = CASES[name], operands(lead=lead)
    extras = [t for t in (options.bias, options.sinks) if t is not None and t.requires_grad]
    results = []
    for run in (reference.attention, written.with_options):
        out = run(*leaves, options)
        towards = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape)
        results.append([out, *torch.autograd.grad(out, [*leaves, *extras], towards)])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    ("changes", "dtype", "faster"),
    [
        ({}, torch.float32, True),
        ({"is_causal": True}, torch.float32, True),
        ({"window": (300, 0)}, torch.float32, True),
        ({"window": (100, 0)}, torch.float32, False),
        ({}, torch.bfloat16, False),
    ],
)
def test_float32_writes_its_scores_where_that_is_faster(
    changes: dict[str, Any], dtype: torch.dtype, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    q = torch.zeros(1, dtype=dtype).expand(2, 4, 1024, 64)
    options = PLAIN._replace(**changes)
    assert written.is_faster_than_kernel(q, q, options) is faster
    monkeypatch.setattr(written, "MOST", 2 * 4 * 1024 * 1024 * 4 - 1)
    assert not written.is_faster_than_kernel(q, q, options)


def test_dropout_keeps_the_same_weights_forward_and_backward() -> None:
    options, leaves = every_option()._replace(dropout_p=0.3), operands()
    torch.manual_seed(1)
    kept = dropout.kept(dropout.seed(leaves[0]), 0.3, (B, H, LQ, LK)).double() / 0.7
    torch.manual_seed(1)
    ours = route.attention(*leaves, options)
    q, k, v = leaves
    identity = torch.eye(LK, dtype=torch.float64).expand(B, 2, LK, LK)
    weights = attention(q, k, identity, **options._replace(dropout_p=0.0)._asdict())
    expected = (weights * kept) @ v.repeat_interleave(2, 1)
    torch.testing.assert_close(ours, expected)
    dy = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad(o, leaves, dy) for o in (ours, expected)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", ["none", "all", "added"])
def test_opcheck(dtype: torch.dtype, case: str) -> None:
    q, k, v = operands(dtype)
    bias, sinks = (torch.randn(s, requires_grad=True) for s in ((1, H, 1, LK), (H,)))
    mask, seed = torch.rand(LQ, LK) > 0.3, torch.randint(2**62, (1,))
    extras = {
        "none": (None,) * 5,
        "all": (bias, mask, torch.rand(H), sinks, seed),
        "added": (None, mask.float(), None, sinks, None),
    }[case]
    form = (None, 3.0, 4, 1, True, 0.25) if case == "all" else (0.3, None, -1, 0, False, 0.0)
    opcheck(OPS.attention, (q, k, v, *extras, *form))
    out, lse = OPS.attention(q, k, v, *extras, *form)
    saved = [
        None if t is None else t.detach()
        for t in (torch.randn_like(out), q, k, v, out, lse, *extras)
    ]
    for wanted in ((True, True, case == "all", case != "none"), (False, True, False, False)):
        opcheck(OPS.attention_backward, (*saved, *form, *wanted))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_in_one_graph(dynamic: bool) -> None:
    torch._dynamo.reset()
    options, leaves = every_option(torch.float32), operands(torch.float32)
    compiled = torch.compile(
        lambda *t: route.attention(*t, options),
        fullgraph=True,
        backend="aot_eager",
        dynamic=dynamic,
    )
    ours, theirs = compiled(*leaves), route.attention(*leaves, options)
    dy = torch.randn_like(ours)
    assert torch.equal(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(o, leaves, dy) for o in (ours, theirs)), strict=True):
        assert torch.equal(a, b)


def test_vmap_is_a_loop_and_grad_the_gradient() -> None:
    stacked = [t.detach() for t in operands(lead=(3,))]
    options = every_option()._replace(bias=None)

    def run(*t: Tensor) -> Tensor:
        return route.attention(*t, options)

    loop = torch.stack([run(*t) for t in zip(*stacked, strict=True)])
    torch.testing.assert_close(torch.func.vmap(run)(*stacked), loop)
    q, k, v = operands()
    grad = torch.func.grad(lambda q: run(q, k, v).sum())(q)
    torch.testing.assert_close(grad, torch.autograd.grad(run(q, k, v).sum(), q)[0])


def test_double_backward_says_that_there_is_none() -> None:
    q, k, v = operands()
    out = route.attention(q, k, v, PLAIN)
    (dq,) = torch.autograd.grad(out.sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        dq.sum().backward()


TAKEN: list[tuple[dict[str, Any], bool]] = [
    ({"window": (3, 0)}, True),
    ({"softcap": 5.0, "alibi_slopes": torch.rand(H)}, True),
    ({"alibi_slopes": torch.rand(H, requires_grad=True)}, False),
    ({"softcap": 5.0, "attn_mask": torch.rand(LQ, LK, requires_grad=True)}, True),
    ({"bias": torch.rand(LQ, LK), "attn_mask": torch.rand(LQ, LK, requires_grad=True)}, False),
    ({"bias": torch.rand(LQ, LK), "dropout_p": 0.5}, True),
    ({"bias": torch.rand(LQ, LK), "dropout_p": 1.0}, False),
    ({"window": (3, 0), "width": 256}, True),
    ({"window": (3, 0), "width": 257}, False),
    ({"window": (3, 0), "keys": 0}, False),
    ({"window": (3, 0), "capability": (7, 5)}, False),
]


@pytest.mark.parametrize(("case", "takes"), TAKEN, ids=range(len(TAKEN)))
def test_what_the_kernel_takes(
    case: dict[str, Any], takes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = dict(case)
    width, keys = case.pop("width", D), case.pop("keys", LK)
    capability = case.pop("capability", (8, 0))
    monkeypatch.setattr(route, "kernel_runs", lambda x: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    q, kv = torch.randn(B, H, LQ, width), torch.randn(B, H, keys, width)
    assert route.kernel_takes(q, kv, kv, PLAIN._replace(**case)) == takes


def test_the_function_goes_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function.route, "kernel_takes", lambda *arguments: True)
    monkeypatch.setattr(registration, "kernel_runs", lambda x: False)
    q, k, v = (t.detach() for t in operands(torch.float32))
    ours = attention(q, k, v, softcap=5.0, enable_gqa=True)
    monkeypatch.undo()
    torch.testing.assert_close(ours, attention(q, k, v, softcap=5.0, enable_gqa=True))
    five = [t.expand(3, *t.shape) for t in (q, k, v)]
    mask = torch.rand(3, B, 1, LQ, LK) > 0.3
    options = PLAIN._replace(attn_mask=mask, softcap=5.0)
    torch.testing.assert_close(
        route.attention(*five, options), attention(*five, **options._asdict())
    )
    flat = [t[0, 0] for t in (q, k, v)]
    alone = PLAIN._replace(enable_gqa=False, window=(2, 2))
    torch.testing.assert_close(route.attention(*flat, alone), attention(*flat, **alone._asdict()))
