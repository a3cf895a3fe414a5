"""Masks as triangles: what each spelling holds on and below the diagonal, and above it."""

from __future__ import annotations

import math

import pytest
import torch

from cudalint.facts.graph.patterns.triangles import triangle
from tests.graph.making import facts_of

SPELLINGS = [
    "torch.ones(n, n).tril()",
    "torch.ones((n, n)).tril().bool()",
    "torch.tril(torch.ones(n, n, dtype=torch.bool))",
    "~torch.triu(torch.ones(n, n), diagonal=1).bool()",
    "torch.triu(torch.full((n, n), float('-inf')), 1)",
    "torch.triu(torch.ones(n, n) * float('-inf'), diagonal=1)",
    "torch.zeros(n, n).masked_fill(torch.ones(n, n).triu(1) == 1, -1e9)",
    "torch.where(torch.ones(n, n).tril() > 0, 0.0, float('-inf'))",
    "(torch.triu(torch.ones(n, n)) == 1).transpose(0, 1)",
    "(1.0 - torch.ones(n, n).tril()) * -10000.0",
    "torch.ones(n, n).tril(-1)",
    "torch.ones(n, n).triu()",
    "torch.ones(1, 1, n, n).tril()[:, :, :n, :n]",
    "torch.ones(n, n).tril()[None, None]",
    "torch.ones(n, n).tril().view(1, n, n).unsqueeze(1)",
    "torch.ones(n, n).triu(1).T.bool().logical_not()",
    "torch.full((n, n), True).tril()",
    "(torch.ones(n, n).tril() == 0) | (torch.ones(n, n) == 0)",
]
OTHERS = [
    "torch.ones(n, n).tril(1)",
    "torch.ones(n, n).tril().triu(-2)",
    "torch.triu(torch.ones(n, n), 1) * float('-inf')",
    "torch.ones(n, n).tril()[:, 1:]",
    "torch.ones(n, n).tril()[0]",
    "torch.ones(n, n).tril().unsqueeze(1)",
    "torch.ones(n, n).tril() + torch.ones(n, n).triu()",
    "torch.rand(n, n).tril()",
    "torch.ones(n, n).tril().flip(0)",
]


def _read(text: str):
    facts = facts_of(f"import torch\ndef f(n):\n    return {text}\n")
    function = facts.root.named_children[1]
    graph = facts.graphs.of(function)
    (value,) = [v for v in graph.values if any(use.kind == "return" for use in v.uses)]
    return triangle(facts, graph, value)


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_triangle_is_what_torch_makes_of_it(text: str) -> None:
    found = _read(text)
    assert found is not None
    made = eval(text, {"torch": torch, "n": 5})
    assert (made.dtype == torch.bool) == found.boolean
    assert made.dim() == found.rank
    rows = torch.arange(5)
    side = rows[None] <= rows[:, None] if found.side == "lower" else rows[None] >= rows[:, None]
    wanted = torch.where(side, torch.tensor(found.inside), torch.tensor(found.outside))
    assert torch.equal(made.double().expand(*made.shape), wanted.double().expand(*made.shape))
    assert not math.isnan(found.inside)


@pytest.mark.parametrize("text", OTHERS)
def test_anything_else_is_none(text: str) -> None:
    assert _read(text) is None
