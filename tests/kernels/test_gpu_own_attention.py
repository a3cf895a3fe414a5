"""The own attention kernel on a GPU: the error law for results and gradients, and the other laws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint

from cudalint.kernels import attention
from cudalint.kernels._attention import dropout, reference, registration, route, written
from cudalint.kernels._attention.reference import Options
from tests.kernels.error_law import assert_allowed
from tests.kernels.inputs import guarded_empty, poisoned_empty

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def in_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 too, whose scores would be written."""
    monkeypatch.setattr(written, "is_faster_than_kernel", lambda q, k, options: False)


HALVES = (torch.float16, torch.bfloat16)
B, H = 2, 4


def operands(
    queries: int = 200, keys: int = 200, width: int = 64, dtype: torch.dtype = torch.bfloat16,
    kv_heads: int = 2, v_width: int = 0, device: str = "cuda",
) -> list[Tensor]:  # fmt: skip
    rng = torch.Generator(device).manual_seed(0)
    shapes = ((H, queries, width), (kv_heads, keys, width), (kv_heads, keys, v_width or width))
    return [torch.randn(B, *s, generator=rng, device=device).to(dtype) for s in shapes]


def by_formula(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, options: Options, rounded: torch.dtype,
    kept: Tensor | None = None,
) -> list[Tensor]:  # fmt: skip
    """The result and the gradients of q, k, v, bias and sinks, with P, dS and the result rounded."""
    groups, scale = q.shape[1] // k.shape[1], reference.scale_of(q, options)
    k, v = reference.repeat_heads(k, q), reference.repeat_heads(v, q)
    weights, highest, total = reference.weights(reference.scores(q, k, options), options.sinks)
    share = 1.0 if kept is None else kept.to(q.dtype) / (1.0 - options.dropout_p)
    p = (weights * share).to(rounded).to(q.dtype)
    dp = dy @ v.mT * share
    out = p @ v
    delta = (dy * out.to(rounded).to(q.dtype)).sum(-1, keepdim=True)  # as flash attention has it
    ds = weights * (dp - delta)
    dx = ds
    if options.softcap is not None:
        dx = ds * (1 - torch.tanh(q @ k.mT * scale / options.softcap) ** 2)
    dx = dx.to(rounded).to(q.dtype)
    dk, dv = (t.unflatten(1, (-1, groups)).sum(2) for t in (dx.mT @ q * scale, p.mT @ dy))
    results = [out, dx @ k * scale, dk, dv]
    if options.bias is not None:
        shape = (1,) * (4 - options.bias.dim()) + options.bias.shape
        results.append(ds.sum_to_size(shape).view(options.bias.shape))
    if options.sinks is not None:
        sink = torch.exp(options.sinks.to(q.dtype)[:, None, None] - highest) / total
        results.append(-(sink * delta).sum((0, 2, 3)))
    return results


def check(tensors: list[Tensor], kept: Tensor | None = None, **named: Any) -> list[Tensor]:
    """The error law for the result and each gradient."""
    options = Options(None, 0.0, False, None, True, *(None,) * 5, "top-left")._replace(**named)
    leaves = [t.detach().requires_grad_() for t in tensors]
    extras = {
        name: t.detach().requires_grad_()
        for name in ("bias", "sinks")
        if (t := getattr(options, name)) is not None
    }
    assert route.kernel_takes(*leaves, options._replace(**extras))
    out = attention(*leaves, **(options._replace(**extras)._asdict()))
    dy = torch.randn_like(out)
    wanted = [*leaves, *extras.values()]
    with poisoned_empty():
        results = [out.detach(), *torch.autograd.grad(out, wanted, dy)]
    q_dtype = tensors[0].dtype
    near = by_formula(dy.float(), *(t.float() for t in tensors), options, q_dtype, kept)
    exact = by_formula(dy.double(), *(t.double() for t in tensors), options, torch.float64, kept)
    for i, (ours, fair, truth) in enumerate(zip(results, near, exact, strict=True)):
        assert_allowed(ours, fair.to(ours.dtype), truth, factor=3.0 if i else 2.0)
    return results


def slopes() -> Tensor:
    return 2.0 ** -torch.arange(1.0, H + 1, device="cuda")


def blocked(queries: int, keys: int) -> Tensor:
    """A mask with a query that sees nothing, and a key that nobody sees."""
    seen = torch.rand(B, 1, queries, keys, device="cuda") > 0.3
    seen[:, :, 3] = False
    seen[1, :, :, 5] = False
    return seen


def features(name: str, queries: int = 200, keys: int = 200) -> dict[str, Any]:
    """The options `name`, made anew."""
    made: dict[str, dict[str, Any]] = {
        "window": {"window": (40, 0), "is_causal": True},
        "window both ways": {"window": (30, 70)},
        "left open": {"window": (-1, 10), "causal_align": "bottom-right"},
        "softcap": {"softcap": 5.0, "is_causal": True, "scale": 0.3},
        "alibi": {"alibi_slopes": slopes(), "is_causal": True},
        "alibi of each batch": {"alibi_slopes": slopes() * torch.rand(B, 1, device="cuda")},
        "sinks": {"sinks": torch.randn(H, device="cuda"), "is_causal": True, "window": (64, 0)},
        "bias": {"bias": torch.randn(1, H, queries, keys, device="cuda"), "softcap": 20.0},
        "bool mask": {"attn_mask": blocked(queries, keys), "softcap": 20.0},
    }
    added = torch.zeros(B, 1, queries, keys, device="cuda")
    made["added mask"] = {
        "attn_mask": added.masked_fill(~blocked(queries, keys), -torch.inf), "window": (70, 70),
    }  # fmt: skip
    made["all"] = (
        made["sinks"] | made["alibi"] | made["bias"] | {"attn_mask": blocked(queries, keys)}
    )
    return made[name]


NAMES = (
    "window", "window both ways", "left open", "softcap", "alibi", "alibi of each batch", "sinks",
    "bias", "bool mask", "added mask", "all",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", HALVES)
def test_features(name: str, dtype: torch.dtype) -> None:
    check(operands(dtype=dtype), **features(name))


@pytest.mark.parametrize("name", ["window", "softcap", "all"])
@pytest.mark.parametrize("width", [64, 128])
def test_float32_is_float32(name: str, width: int) -> None:
    check(operands(width=width, dtype=torch.float32), **features(name))


@pytest.mark.parametrize("offset", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize("name", ["window", "softcap", "alibi", "sinks", "bias"])
def test_float32_gradients_are_as_exact_as_those_of_the_formula(name: str, offset: float) -> None:
    """Against what autograd makes of it, whose errors in Σ p · dp and in dp are the same ones."""
    options = Options(None, 0.0, False, None, True, *(None,) * 5, "top-left")
    options = options._replace(**features(name))
    q, k, v = operands(dtype=torch.float32)
    dy = torch.randn_like(q)
    runs = []
    for run, dtype in ((attention, torch.float32), *((by_autograd, d) for d in WIDE)):
        leaves = [t.to(dtype).requires_grad_() for t in (q, k, v + offset)]
        out = run(*leaves, **options._asdict())
        runs.append([out.detach(), *torch.autograd.grad(out, leaves, dy.to(dtype))])
    for i, (ours, fair, exact) in enumerate(zip(*runs, strict=True)):
        assert_allowed(ours, fair, exact, factor=3.0 if i else 2.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compiled", [False, True])
def test_float32_with_its_scores_written(name: str, compiled: bool) -> None:
    torch._dynamo.reset()
    options = Options(None, 0.0, False, None, True, *(None,) * 5, "top-left")
    options = options._replace(**features(name))
    tensors = operands(dtype=torch.float32)
    run = torch.compile(written.with_options, fullgraph=True) if compiled else written.with_options
    dy, runs = torch.randn_like(tensors[0]), []
    for function, dtype in ((run, torch.float32), *((reference.attention, d) for d in WIDE)):
        leaves = [t.to(dtype).requires_grad_() for t in tensors]
        out = function(*leaves, options)
        runs.append([out.detach(), *torch.autograd.grad(out, leaves, dy.to(dtype))])
    for i, (ours, fair, exact) in enumerate(zip(*runs, strict=True)):
        assert_allowed(ours, fair, exact, factor=3.0 if i else 2.0)


WIDE = (torch.float32, torch.float64)


def by_autograd(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    return reference.attention(q, k, v, Options(**options))


def test_float32_with_tf32_where_that_is_asked_for() -> None:
    q, k, v = operands(dtype=torch.float32)
    exact = attention(q, k, v, window=(9, 9), enable_gqa=True)
    torch.set_float32_matmul_precision("high")
    try:
        ours = attention(q, k, v, window=(9, 9), enable_gqa=True)
    finally:
        torch.set_float32_matmul_precision("highest")
    torch.testing.assert_close(ours, exact, rtol=2e-2, atol=5e-3)
    assert not torch.equal(ours, exact)


@pytest.mark.parametrize("width", [40, 80, 96, 128, 256])
@pytest.mark.parametrize("name", ["window", "softcap"])
def test_head_widths(width: int, name: str) -> None:
    check(operands(width=width, dtype=HALVES[width % 3 % 2]), **features(name))


def test_values_of_another_width() -> None:
    check(operands(width=64, v_width=24), **features("window"))


@pytest.mark.parametrize(("queries", "keys"), [(1, 300), (77, 300), (300, 77), (33, 3)])
@pytest.mark.parametrize("align", ["top-left", "bottom-right"])
@pytest.mark.parametrize("name", ["window both ways", "sinks", "alibi"])
def test_lengths_that_differ(queries: int, keys: int, align: str, name: str) -> None:
    options = features(name) | {"causal_align": align}
    check(operands(queries, keys), **options)


def test_queries_that_see_nothing_and_keys_that_nobody_sees() -> None:
    out, dq, dk, dv = check(operands(), **features("bool mask"))
    assert bool((out[:, :, 3] == 0).all()) and bool((dq[:, :, 3] == 0).all())
    assert bool((dk[1, :, 5] == 0).all()) and bool((dv[1, :, 5] == 0).all())
    out, dq, _, _ = check(operands(200, 77), window=(5, 5))
    assert bool((out[:, :, 100:] == 0).all()) and bool((dq[:, :, 100:] == 0).all())


def test_rows_of_the_lowest_number_see_all_keys_alike() -> None:
    """Their highest score is −10³⁸, beside which the sum of the exponentials would be lost."""
    mask = torch.zeros(B, 1, 200, 200, device="cuda")
    mask[:, :, 7] = torch.finfo(torch.float32).min
    check(operands(), attn_mask=mask, softcap=5.0)


@pytest.mark.parametrize(
    "shape", [(200, 200), (H, 1, 200), (B, 1, 200, 200), (B, H, 200, 200), (B, 1, 1, 200)]
)
def test_the_gradient_of_a_bias_is_summed(shape: tuple[int, ...]) -> None:
    check(operands(), bias=torch.randn(shape, device="cuda").bfloat16(), window=(90, 30))


def test_the_gradient_of_a_mask_is_that_of_a_bias() -> None:
    q, k, v = operands()
    mask = torch.randn(200, 200, device="cuda", requires_grad=True)
    dy = torch.randn_like(q)
    runs = [attention(q, k, v, enable_gqa=True, softcap=5.0, **{n: mask})
            for n in ("attn_mask", "bias")]  # fmt: skip
    first, second = (torch.autograd.grad(out, mask, dy)[0] for out in runs)
    assert torch.equal(first, second)


def strided(layout: str) -> list[Tensor]:
    if layout == "tokens":  # (B, T, H, D)
        return [t.transpose(1, 2).contiguous().transpose(1, 2) for t in operands()]
    if layout == "packed":
        qkv = torch.randn(B, 200, 3, H, 64, device="cuda").bfloat16()
        return [t.transpose(1, 2) for t in qkv.unbind(2)]
    if layout == "loose":
        return [t.mT.contiguous().mT for t in operands()]
    if layout == "misaligned":
        q, k, v = operands()
        return [torch.cat([t.new_zeros(1), t.reshape(-1)])[1:].view(t.shape) for t in (q, k, v)]
    q, k, v = operands()
    return [q, k[:, :1].expand(-1, 2, -1, -1), v[:, :1].expand(-1, 2, -1, -1)]


@pytest.mark.parametrize("layout", ["tokens", "packed", "loose", "misaligned", "expanded"])
def test_layouts(layout: str) -> None:
    q, k, v = strided(layout)
    check([q, k, v], **features("window"))
    out = attention(q, k, v, window=(9, 9), enable_gqa=True)
    if layout == "tokens":
        assert out.stride() == q.stride()


def test_dimensions_other_than_four() -> None:
    q, k, v = operands(kv_heads=H)
    whole = attention(q, k, v, softcap=5.0)
    for part, of in ((q[0, 0], whole[0, 0]), (q[0], whole[0])):
        others = [t[0, 0] if part.dim() == 2 else t[0] for t in (k, v)]
        torch.testing.assert_close(attention(part, *others, softcap=5.0), of)
    five = [t.view(1, B, *t.shape[1:]).expand(3, *(-1,) * 4) for t in (q, k, v)]
    mask = torch.rand(3, B, 1, 200, 200, device="cuda") > 0.3
    ours = attention(*five, mask, softcap=5.0)
    for i in range(3):
        torch.testing.assert_close(ours[i], attention(q, k, v, mask[i], softcap=5.0))


@pytest.mark.parametrize("wanted", ["q", "k", "v", "bias", "sinks", "qv"])
def test_only_what_is_asked_for_gets_a_gradient(wanted: str) -> None:
    q, k, v = operands()
    bias, sinks = torch.randn(200, 200, device="cuda"), torch.randn(H, device="cuda")
    named = {"q": q, "k": k, "v": v, "bias": bias, "sinks": sinks}
    dy = torch.randn_like(q)

    def gradients(names: list[str]) -> list[Tensor]:
        leaves = {n: t.detach().requires_grad_(n in names) for n, t in named.items()}
        out = attention(*list(leaves.values())[:3], enable_gqa=True, softcap=5.0,
                        bias=leaves["bias"], sinks=leaves["sinks"])  # fmt: skip
        return list(torch.autograd.grad(out, [leaves[n] for n in names], dy))

    names = list(wanted) if wanted == "qv" else [wanted]
    every = dict(zip(named, gradients(list(named)), strict=True))
    for name, ours in zip(names, gradients(names), strict=True):
        assert torch.equal(ours, every[name])


def test_runs_are_equal_and_inputs_stay() -> None:
    tensors = [t.requires_grad_() for t in operands()]
    options = features("all")
    before = [t.clone() for t in tensors]
    dy = torch.ones((), device="cuda", dtype=torch.bfloat16).expand(B, H, 200, 64)
    out = attention(*tensors, enable_gqa=True, **options)
    first, second = (torch.autograd.grad(out, tensors, dy, retain_graph=True) for _ in range(2))
    again = attention(*tensors, enable_gqa=True, **options)
    assert torch.equal(out, again)
    for a, b, c in zip(first, second, torch.autograd.grad(again, tensors, dy), strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    assert all(torch.equal(t, b) for t, b in zip(tensors, before, strict=True))


def test_nothing_is_written_outside_the_results() -> None:
    tensors = [t.requires_grad_() for t in operands(77, 77, 40)]
    options = features("sinks")
    dy = torch.randn(B, H, 77, 40, device="cuda").bfloat16()
    with guarded_empty() as guards:
        out = attention(*tensors, enable_gqa=True, **options)
        torch.autograd.grad(out, tensors, dy)
    assert guards.untouched()


def test_not_a_number_and_infinities_spread_as_far_as_they_are_seen() -> None:
    q, k, v = operands()
    q[0, 0, 5, 3], k[1, 0, 50, 0], v[0, 1, 60, 2] = torch.nan, torch.inf, torch.nan
    out = attention(q, k, v, window=(9, 9), enable_gqa=True)
    wide = [t.float() for t in (q, k, v)]
    fair = attention(*(t.double() for t in wide), window=(9, 9), enable_gqa=True)
    seen = torch.arange(200, device="cuda")
    near = (seen[:, None] - seen).abs() <= 9
    assert bool(out[0, 0, 5].isnan().all())
    rows = near[:, 60]
    assert torch.equal(out[0, 2, rows].isnan(), fair[0, 2, rows].isnan())
    assert torch.equal(out[1, 0].isnan().any(-1), near[:, 50] & fair[1, 0].isnan().any(-1))


def test_double_backward_says_that_there_is_none() -> None:
    q, k, v = (t.requires_grad_() for t in operands())
    out = attention(q, k, v, softcap=5.0, enable_gqa=True)
    (dq,) = torch.autograd.grad(out.float().sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        dq.float().sum().backward()


@pytest.mark.parametrize("name", ["window", "all"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_in_one_graph(name: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    options = features(name)
    leaves = [t.requires_grad_() for t in operands()]
    compiled = torch.compile(
        lambda *t: attention(*t, enable_gqa=True, **options), fullgraph=True, dynamic=dynamic
    )
    ours, theirs = compiled(*leaves), attention(*leaves, enable_gqa=True, **options)
    assert torch.equal(ours, theirs)
    dy = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad(o, leaves, dy) for o in (ours, theirs)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("seeded", [False, True])
def test_opcheck_on_cuda(seeded: bool) -> None:
    q, k, v = (t.requires_grad_() for t in operands(33, 40, 16, torch.float32))
    sinks = torch.randn(H, device="cuda", requires_grad=True)
    bias = torch.randn(33, 40, device="cuda", requires_grad=True)
    seed = torch.randint(2**62, (1,), device="cuda") if seeded else None
    form = (None, 5.0, 9, 3, True, 0.25 if seeded else 0.0)
    operator = torch.ops.cudalint.attention
    opcheck(operator, (q, k, v, bias, None, slopes(), sinks, seed, *form))
    out, lse = operator(q, k, v, bias, None, slopes(), sinks, seed, *form)
    saved = [t.detach() for t in (out, q, k, v, out, lse, bias)]
    others = (None, slopes(), sinks.detach(), seed, *form, True, True, True, True)
    opcheck(torch.ops.cudalint.attention_backward, (*saved, *others))


def test_vmap_is_a_loop_and_the_operator_the_way_round_it() -> None:
    stacked = [torch.stack([t, 2 * t, -t]) for t in operands()]

    def run(*t: Tensor) -> Tensor:
        return attention(*t, enable_gqa=True, softcap=5.0, window=(30, 0))

    loop = torch.stack([run(*t) for t in zip(*stacked, strict=True)])
    assert torch.equal(torch.func.vmap(run)(*stacked), loop)
    form = (None, 5.0, 30, 0, False, 0.0)
    q, k, v = operands()
    assert torch.equal(torch.ops.cudalint.attention(q, k, v, *(None,) * 5, *form)[0], loop[0])
    assert torch.equal(registration.run_forward(q, k, v, *(None,) * 5, *form)[0], loop[0])


def test_a_side_stream_and_another_device() -> None:
    q, k, v = operands()
    expected = attention(q, k, v, softcap=5.0, enable_gqa=True)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        ours = attention(q, k, v, softcap=5.0, enable_gqa=True)
    torch.cuda.synchronize()
    assert torch.equal(ours, expected)
    if torch.cuda.device_count() > 1:
        others = [t.to("cuda:1").requires_grad_() for t in (q, k, v)]
        out = attention(*others, softcap=5.0, enable_gqa=True)
        out.sum().backward()
        assert torch.equal(out.detach().cpu(), expected.cpu())


def test_a_graph_replays_with_new_data() -> None:
    q, k, v = (t.requires_grad_() for t in operands())
    dy = torch.randn_like(q)

    def step() -> tuple[Tensor, ...]:
        out = attention(q, k, v, softcap=5.0, window=(50, 0), enable_gqa=True)
        return out, *torch.autograd.grad(out, (q, k, v), dy)

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        results = step()
    with torch.no_grad():
        for t in (q, k, v, dy):
            t.copy_(torch.randn_like(t))
    graph.replay()
    for ours, eager in zip(results, step(), strict=True):
        assert torch.equal(ours, eager)


def test_more_elements_than_32_bits_count() -> None:
    length = 2**17 + 40
    q = torch.empty(1, 64, length, 256, device="cuda", dtype=torch.bfloat16)
    ends = (slice(0, 50), slice(length - 50, length))
    for h in (0, 63):
        for end in ends:
            q[0, h, end] = torch.randn(50, 256, device="cuda").bfloat16()
    k, v = (torch.randn(1, 1, 40, 256, device="cuda").bfloat16() for _ in range(2))
    out = attention(q, k, v, softcap=5.0, enable_gqa=True)
    for h in (0, 63):
        for end in ends:
            part = attention(q[:, h : h + 1, end], k, v, softcap=5.0)
            torch.testing.assert_close(out[:, h : h + 1, end], part, rtol=2e-2, atol=2e-2)


# dropout


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("name", ["bias", "window", "all"])
def test_dropout_is_the_same_forward_and_backward(dtype: torch.dtype, name: str) -> None:
    torch.manual_seed(3)
    seed = dropout.seed(torch.empty(0, device="cuda"))
    kept = dropout.kept(seed, 0.3, (B, H, 200, 200))
    options = features(name)
    rng = torch.cuda.get_rng_state()
    torch.manual_seed(3)
    check(operands(dtype=dtype), kept, dropout_p=0.3, **options)
    torch.cuda.set_rng_state(rng)


def masks_of(*calls: int, p: float = 0.25, **options: Any) -> list[Tensor]:
    """What each call keeps, seen through values that are the identity."""
    q, k = torch.zeros(2, B, H, 256, 64, device="cuda", dtype=torch.bfloat16)
    v = torch.eye(256, device="cuda", dtype=q.dtype).expand(B, H, 256, 256)
    bias = torch.zeros(256, device="cuda")
    return [attention(q, k, v, dropout_p=p, bias=bias, **options) * 256 for _ in calls]


def test_dropout_rate_and_scale_and_other_masks_elsewhere() -> None:
    first, second = masks_of(0, 1)
    assert first.eq(0).double().mean().item() == pytest.approx(0.25, abs=0.005)
    assert first[first != 0].sub(1 / 0.75).abs().max().item() < 0.01
    assert not torch.equal(first, second)
    assert not torch.equal(first[0, 0], first[0, 1]) and not torch.equal(first[0, 0], first[1, 0])
    dropped = first.eq(0).double()
    for dims in ((0, 1, 2), (0, 1, 3)):  # no key and no query is dropped more than others
        assert dropped.mean(dims).sub(0.25).abs().max().item() < 0.05
    neighbours = dropped[..., 1:] * dropped[..., :-1]
    assert neighbours.mean().item() == pytest.approx(0.0625, abs=0.003)
    below = dropped[..., 1:, :] * dropped[..., :-1, :]
    assert below.mean().item() == pytest.approx(0.0625, abs=0.003)


def test_dropout_after_a_seed_in_checkpoints_and_in_graphs() -> None:
    torch.manual_seed(0)
    (first,) = masks_of(0)
    torch.manual_seed(0)
    assert torch.equal(first, masks_of(0)[0])
    q, k, v = (t.requires_grad_() for t in operands())
    bias = torch.randn(200, 200, device="cuda")

    def run(*t: Tensor) -> Tensor:
        return attention(*t, enable_gqa=True, bias=bias, dropout_p=0.5)

    grads = []
    for way in (run, lambda *t: checkpoint(run, *t, use_reentrant=False)):
        torch.manual_seed(1)
        grads.append(torch.autograd.grad(way(q, k, v).float().sum(), (q, k, v)))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        (mask,) = masks_of(0)
    replays = []
    for _ in range(2):
        graph.replay()
        replays.append(mask.clone())
    assert not torch.equal(*replays)
    assert replays[0].eq(0).double().mean().item() == pytest.approx(0.25, abs=0.01)


def test_dropout_of_nothing_and_of_all() -> None:
    (kept,) = masks_of(0, p=0.0, softcap=5.0)
    assert bool((kept == 1).all())
    (none,) = masks_of(0, p=1.0)
    assert bool((none == 0).all())
