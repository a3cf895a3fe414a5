"""graphed on a GPU: what it gives is what the function gives, and a decode loop waits for no host."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cudalint.kernels import GraphPool, KVCache, PagedKVCache, graphed, rms_norm, softmax
from tests.kernels.llama import Llama, Size, greedy, greedy_without_cache

pytestmark = pytest.mark.gpu


def function(x: Tensor, power: int = 2) -> dict[str, Tensor]:
    return {"softmax": softmax(rms_norm(x) ** power), "sum": x.sum()}


def test_new_data_and_results_that_stay() -> None:
    ours = graphed(function, torch.randn(8, 256, device="cuda"))
    kept = []
    for _ in range(3):
        x = torch.randn(8, 256, device="cuda")
        kept.append((ours(x), function(x)))
    assert len(ours) == 1
    for mine, theirs in kept:
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_graph_for_each_kind_of_call() -> None:
    ours = graphed(function, torch.randn(8, 256, device="cuda"), most_graphs=5)
    calls: list[tuple[Any, ...]] = [
        (torch.randn(4, 256, device="cuda"),),
        (torch.randn(256, 8, device="cuda").t(),),
        (torch.randn(8, 256, device="cuda").bfloat16(),),
        (torch.randn(8, 256, device="cuda"), 3),
    ]
    for arguments in (*calls, *reversed(calls)):
        mine, theirs = ours(*arguments), function(*arguments)
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert len(ours) == 5
    ours(torch.randn(3, 256, device="cuda"))
    assert len(ours) == 5
    ours.reset()
    assert len(ours) == 0
    ours(*calls[0])


def test_graphs_of_one_pool_disturb_each_other_in_no_order() -> None:
    pool, x = GraphPool(), torch.randn(64, 1024, device="cuda")
    functions: list[Callable[[Tensor], Tensor]] = [
        lambda x: (x @ x.mT).relu() @ x,
        lambda x: softmax(rms_norm(x * 3)) + 1,
        lambda x: (x.sin() * 2).cumsum(-1),
    ]
    graphs = [graphed(fn, x, pool=pool) for fn in functions]
    for order in ((0, 1, 2), (2, 0, 1), (1, 1, 0), (2, 1, 0)):
        fresh = torch.randn_like(x)
        mine = [graphs[i](fresh) for i in order]
        for i, result in zip(order, mine, strict=True):
            torch.testing.assert_close(result, functions[i](fresh))


def test_random_numbers_are_new_and_as_without_a_graph() -> None:
    x = torch.ones(1000, device="cuda")
    torch.manual_seed(7)
    theirs = [F.dropout(x), F.dropout(x)]
    torch.manual_seed(7)
    ours = graphed(lambda x: F.dropout(x), x)
    mine = [ours(x), ours(x)]
    assert not torch.equal(*mine)
    assert torch.equal(mine[0], theirs[0]) and torch.equal(mine[1], theirs[1])


def test_restore_undoes_the_warm_up() -> None:
    count = torch.zeros((), device="cuda")
    step = graphed(lambda: count.add_(1).clone(), restore=[count])
    assert [float(step()) for _ in range(3)] == [1.0, 2.0, 3.0]


def test_autocast() -> None:
    """Weights that autocast has cast and cached before must not be read by the graph."""
    linear, x = nn.Linear(64, 64).cuda(), torch.randn(8, 64, device="cuda")
    with torch.no_grad():
        wide = graphed(linear, x)
        with torch.autocast("cuda", torch.bfloat16):
            linear(x)
            halves = wide(x)
            expected = linear(x)
        junk = [torch.randn(64, 64, device="cuda") for _ in range(50)]
        with torch.autocast("cuda", torch.bfloat16):
            again = wide(x)
        assert len(junk) == 50 and wide(x).dtype == torch.float32 and len(wide) == 2
    assert halves.dtype == torch.bfloat16
    torch.testing.assert_close(halves, expected)
    torch.testing.assert_close(again, expected)


def test_a_training_step() -> None:
    torch.manual_seed(0)
    models = [nn.Linear(32, 32).cuda() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    steps = []
    for model in models:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(x: Tensor, model: nn.Module = model, optimizer: Any = optimizer) -> Tensor:
            optimizer.zero_grad(set_to_none=False)
            loss = model(x).pow(2).mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        steps.append(step)
    data = torch.randn(5, 16, 32, device="cuda")
    restore = [p.data for p in models[1].parameters()]
    ours = graphed(steps[1], data[0], restore=restore)
    for x in data:
        torch.testing.assert_close(ours(x), steps[0](x))
    torch.testing.assert_close(*[m.weight for m in models])


def test_inside_another_capture() -> None:
    x = torch.randn(8, 256, device="cuda")
    inner = graphed(lambda x: x * 2, x)
    outer = graphed(lambda x: inner(x) + 1, x)
    assert torch.equal(outer(x), x * 2 + 1)


def test_what_waits_for_the_device_is_refused() -> None:
    """In a process of its own: after a capture that failed, torch's random numbers are stuck."""
    program = """
import torch
from cudalint.kernels import graphed
graphed(lambda x: x * float(x.sum()), torch.ones(3, device="cuda"))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: graphed: fn cannot be captured (")
    assert "accepted: a function that never waits for the device" in last


def test_refusals_are_those_of_the_cpu() -> None:
    x, w = torch.ones(3, device="cuda"), torch.ones(3, device="cuda", requires_grad=True)
    with pytest.raises(ValueError, match="writes to its argument 0"):
        graphed(lambda x: x.add_(1), x)
    with pytest.raises(ValueError, match="the result of fn requires a gradient"):
        graphed(lambda x: x * w, x)
    with pytest.raises(ValueError, match="arguments are on cuda:0 and cpu"):
        graphed(lambda x, y: x, x, torch.ones(3))


def caches_for(size: Size, paged: bool, dtype: torch.dtype) -> list[Any]:
    shape: dict[str, Any] = {"dtype": dtype, "device": "cuda"}
    if paged:
        return [
            PagedKVCache(2, size.kv_heads, 40, 8, size.head_width, **shape)
            for _ in range(size.layers)
        ]
    return [KVCache(2, size.kv_heads, 128, size.head_width, **shape) for _ in range(size.layers)]


def graphed_step(model: nn.Module, caches: list[Any], new: Tensor) -> Callable[..., Tensor]:
    state = [t for cache in caches for t in cache.state]

    def step(tokens: Tensor) -> Tensor:
        out: Tensor = model(tokens, caches).argmax(-1, keepdim=True)
        return out

    return graphed(step, new, restore=state)


@pytest.mark.parametrize("paged", [False, True])
def test_a_decode_loop_as_without_cache_and_graph(paged: bool) -> None:
    size = Size(width=256, heads=4, kv_heads=2, layers=4)
    model = Llama(size).cuda()
    prompt = torch.randint(size.vocabulary, (2, 5), device="cuda")
    expected = greedy_without_cache(model, prompt, 40)
    caches = caches_for(size, paged, torch.float32)
    with torch.no_grad():
        tokens = [prompt, model(prompt, caches).argmax(-1, keepdim=True)]
        step = graphed_step(model, caches, tokens[-1])
        for _ in range(39):
            tokens.append(step(tokens[-1]))
    assert torch.equal(torch.cat(tokens, 1), expected)


@pytest.mark.host_time
@pytest.mark.parametrize("paged", [False, True])
def test_launch_overhead_of_a_decode_loop(paged: bool) -> None:
    """A small model's step is launches and nothing else: the graph takes at most half the time."""
    size = Size(width=512, heads=8, kv_heads=2, layers=8)
    model = Llama(size).cuda().bfloat16()
    prompt = torch.randint(size.vocabulary, (2, 5), device="cuda")

    def milliseconds(run: Callable[[], object], steps: int) -> float:
        run()
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / steps * 1e3

    def with_launches() -> None:
        greedy(model, prompt, 50, caches_for(size, paged, torch.bfloat16))

    caches = caches_for(size, paged, torch.bfloat16)
    with torch.no_grad():
        new = model(prompt, caches).argmax(-1, keepdim=True)
        step = graphed_step(model, caches, new)

        def with_a_graph() -> None:
            tokens = new
            for cache in caches:
                cache.reset()
            for _ in range(50):
                tokens = step(tokens)

        before, after = milliseconds(with_launches, 50), milliseconds(with_a_graph, 50)
    print(f"a token: {before:.3f} ms by launches, {after:.3f} ms by a graph")
    assert after <= before / 2
