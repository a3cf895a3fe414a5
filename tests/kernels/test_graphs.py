"""graphed on the CPU: the function itself, with the refusals that a GPU would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cudalint.kernels import GraphPool, KVCache, PagedKVCache, graphed
from tests.kernels.llama import Llama, Size, greedy_without_cache

on_the_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")


def test_the_cpu_runs_the_function_itself() -> None:
    weight = torch.randn(5)
    calls: list[int] = []

    def fn(x: Tensor, power: int) -> dict[str, Any]:
        calls.append(1)
        return {"y": [(x * weight) ** power], "n": x.shape[0]}

    ours = graphed(fn, torch.zeros(3, 5), 2, pool=GraphPool())
    assert not calls  # nothing is warmed up for nothing
    for shape in ((3, 5), (7, 5)):
        x = torch.randn(shape)
        result = ours(x, 3)
        assert torch.equal(result["y"][0], (x * weight) ** 3) and result["n"] == shape[0]
    assert len(calls) == 2 and len(ours) == 0
    ours.reset()


@on_the_cpu
def test_no_arguments_at_all() -> None:
    count = torch.zeros(())
    step = graphed(lambda: count.add_(1).clone(), restore=[count])
    assert [float(step()) for _ in range(3)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", ["whole", "paged"])
def test_a_decode_loop(kind: str) -> None:
    """The same program as on a GPU, where `step` is a graph."""
    size = Size()
    model = Llama(size)
    prompt = torch.randint(size.vocabulary, (2, 5))
    expected = greedy_without_cache(model, prompt, 7)
    caches: list[Any] = [
        KVCache(2, size.kv_heads, 16, size.head_width)
        if kind == "whole"
        else PagedKVCache(2, size.kv_heads, 8, 4, size.head_width)
        for _ in range(size.layers)
    ]
    with torch.no_grad():
        new = model(prompt, caches).argmax(-1, keepdim=True)
        state = [t for cache in caches for t in cache.state]
        step = graphed(lambda t: model(t, caches).argmax(-1, keepdim=True), new, restore=state)
        tokens = [prompt, new]
        for _ in range(6):
            tokens.append(step(tokens[-1]))
    assert torch.equal(torch.cat(tokens, 1), expected)


def test_state_is_all_that_append_changes() -> None:
    for cache in (KVCache(2, 2, 8, 4), PagedKVCache(2, 2, 8, 2, 4)):
        k = torch.randn(2, 2, 3, 4)
        cache.append(k, k)
        before = [t.clone() for t in cache.state]
        cache.append(k, k)
        for tensor, value in zip(cache.state, before, strict=True):
            tensor.copy_(value)
        changed = {
            name for name, value in vars(cache).items()
            if isinstance(value, Tensor) and not any(value is t for t in cache.state)
        }  # fmt: skip
        assert changed - {"block_table"} <= {"k", "v", "k_pages", "v_pages"}
        cache.append(k, k)
        assert cache.lengths.tolist() == [6, 6]


def test_compiled_it_is_inline() -> None:
    torch._dynamo.reset()
    ours = graphed(lambda x: x * 2 + 1, torch.zeros(3))
    compiled = torch.compile(lambda x: ours(x) - 1, fullgraph=True, backend="eager")
    x = torch.randn(3)
    torch.testing.assert_close(compiled(x), x * 2)


W = torch.ones(3, requires_grad=True)


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: graphed(torch.sin, warmup=0), "graphed: warmup is 0; accepted: 1 or more"),
    (lambda: graphed(torch.sin, most_graphs=0), "graphed: most_graphs is 0"),
    (lambda: graphed(torch.sin, W), "argument 0 requires a gradient"),
    (lambda: graphed(torch.sin, torch.ones(3), [1]), "argument 1 is a list; accepted: tensors"),
    (
        lambda: graphed(torch.sin, torch.ones(3), torch.ones(3, device="meta")),
        "arguments are on cpu and meta; accepted: one device",
    ),
    (lambda: graphed(lambda x: x * W, torch.ones(3))(torch.ones(3)), "the result of fn requires"),
    (
        lambda: graphed(lambda x: x.add_(1), torch.ones(3))(torch.ones(3)),
        "writes to its argument 0",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_refusals_say_what_is_accepted(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
