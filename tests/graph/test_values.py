"""The value graph itself: one spelling, joins, loops, storage, inlining."""

from __future__ import annotations

import pytest

from cudalint.facts.graph import Graph, Value
from tests.graph.making import graph_of

HEADER = """\
import math
import torch
import torch as th
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange
from torch import einsum
from torch.nn.functional import softmax

"""


def returned(
    body: str, parameters: str = "q, k, v, x, y, m", prelude: str = ""
) -> tuple[Graph, Value]:
    """The graph of a function, and the value that it returns."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    graph = graph_of(f"{HEADER}{prelude}\ndef f({parameters}):\n{lines}\n")
    kept = [v for v in graph.values if any(use.kind == "return" for use in v.uses)]
    assert kept, graph.values
    return graph, kept[-1]


def tree(value: Value) -> str:
    """A value as text without its number."""
    inner = [tree(operand) for operand in value.operands]
    inner += [repr(part) for part in value.attrs if value.op not in ("input", "const")]
    if value.op in ("input", "const"):
        return str(value.attrs[-1])
    return f"{value.op}({', '.join(inner)})"


PRODUCTS = [
    "q @ k.transpose(-2, -1)",
    "q @ k.transpose(-1, -2)",
    "q @ k.mT",
    "torch.matmul(q, k.swapaxes(-1, -2))",
    "th.matmul(q, torch.transpose(k, -2, -1))",
    "q.matmul(k.mT)",
    "torch.einsum('bhid,bhjd->bhij', q, k)",
    "einsum('b h i d, b h j d -> b h i j', q, k)",
    "th.einsum('...id,...jd->...ij', q, k)",
]


@pytest.mark.parametrize("spelling", PRODUCTS)
def test_products_have_one_spelling(spelling: str) -> None:
    assert tree(returned(f"return {spelling}")[1]) == "matmul(q, k)"


@pytest.mark.parametrize(
    "spelling",
    [
        "F.softmax(x, dim=-1)",
        "F.softmax(x, -1)",
        "x.softmax(-1)",
        "torch.softmax(x, dim=-1)",
        "softmax(x, dim=-1)",
        "nn.Softmax(dim=-1)(x)",
        "nn.Softmax(-1)(x)",
        "torch.special.softmax(x, -1)",
    ],
)
def test_softmaxes_have_one_spelling(spelling: str) -> None:
    assert tree(returned(f"return {spelling}")[1]) == "softmax(x, (-1,))"


@pytest.mark.parametrize(
    "spelling",
    [
        "x / math.sqrt(64)",
        "x * 64 ** -0.5",
        "64 ** -0.5 * x",
        "x.div(math.sqrt(64))",
        "x / 64 ** 0.5",
    ],
)
def test_scales_have_one_spelling(spelling: str) -> None:
    value = returned(f"return {spelling}")[1]
    assert sorted(tree(part) for part in value.operands) == ["pow(64, -0.5)", "x"]


@pytest.mark.parametrize(
    "spelling",
    ["x.pow(2)", "x ** 2", "x * x", "torch.square(x)", "x.square()", "torch.pow(x, 2)", "x ** 2.0"],
)
def test_squares_have_one_spelling(spelling: str) -> None:
    assert tree(returned(f"return {spelling}")[1]) == "pow(x, 2)"


def test_transpositions_compose() -> None:
    body = "b, t, h, d = x.shape\nreturn x.transpose(1, 2).transpose(2, 3).permute(0, 1, 3, 2)"
    assert tree(returned(body)[1]) == "permute(x, -2, -3, -1)"
    assert tree(returned("return x.transpose(1, 2).transpose(1, 2)")[1]) == "x"
    assert tree(returned("return rearrange(x, 'b i j -> b j i')")[1]) == "permute(x, -1, -2)"


def test_einsum_of_another_layout_is_a_matmul_of_permuted_operands() -> None:
    value = returned("return torch.einsum('bihd,bjhd->bhij', q, k)")[1]
    assert tree(value) == "matmul(permute(q, -2, -3, -1), permute(k, -2, -3, -1))"


def test_equal_operations_are_one_value() -> None:
    value = returned("return torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)")[1]
    part, inverse = value.operands
    assert inverse.operands[0].operands[0] is part


def test_names_disappear_and_in_place_forms_are_new_values() -> None:
    plain = tree(returned("return (x * 2 + y).softmax(-1)")[1])
    body = "x = x * 2\nx += y\nx = x.clone()\nreturn x.softmax(-1)"
    assert tree(returned(body)[1]) == plain
    assert tree(returned("x = x.mul(2)\nx.add_(y)\nreturn F.softmax(x, -1)")[1]) == plain


def test_a_write_reaches_views_and_aliases() -> None:
    body = "part = x[0]\nsame = x\nx.zero_()\nreturn part, same"
    _graph, value = returned(body)
    part, same = value.operands
    assert part.op == "opaque" and same.op == "torch.zero"


def test_disjoint_parts_keep_their_values() -> None:
    body = (
        "a, c = x.chunk(2, dim=-1)\na = a.clone()\nq, k = x.chunk(2, dim=-1)\nq.mul_(2)\nreturn k"
    )
    assert tree(returned(body)[1]).startswith("index(chunk(")


def test_branches_join_in_a_phi() -> None:
    body = "if m is not None:\n    x = x + m\nreturn x"
    assert tree(returned(body)[1]) == "phi(is_none(m), x, add(x, m))"
    assert tree(returned("return x if m is None else x + m")[1]) == "phi(is_none(m), x, add(x, m))"


def test_an_arm_that_returns_joins_nothing() -> None:
    body = "if m is None:\n    return y\nx = x * 2\nreturn x"
    assert tree(returned(body)[1]) == "mul(x, 2)"


def test_what_a_loop_changes_is_opaque_in_it_and_after_it() -> None:
    body = "for i in y:\n    x = x + i\nreturn x"
    assert returned(body)[1].op == "opaque"
    assert tree(returned("for i in y:\n    m = x + i\nreturn x * 2")[1]) == "mul(x, 2)"


def test_handlers_and_yields_know_nothing_of_what_ran_before() -> None:
    body = "try:\n    x = x * 2\nexcept ValueError:\n    pass\nreturn x"
    assert returned(body)[1].op == "phi"


def test_unknown_calls_may_write_their_arguments_and_self() -> None:
    assert returned("y(x)\nreturn x")[1].op == "opaque"
    assert tree(returned("torch.exp(x)\nreturn x")[1]) == "x"
    source = """
    class A:
        def f(self, x):
            a = self.scale
            self.reset()
            return a, self.scale
    """
    graph = graph_of(HEADER + source.replace("\n    ", "\n"))
    first, second = next(v for v in graph.values if v.op == "tuple").operands
    assert first is not second


def test_small_functions_of_the_file_are_read_in_place() -> None:
    prelude = "def exists(value):\n    return value is not None\n\ndef twice(t, by=2):\n    return t * by\n"
    assert tree(returned("return exists(m)", prelude=prelude)[1]) == "not(is_none(m))"
    assert tree(returned("return twice(x)", prelude=prelude)[1]) == "mul(x, 2)"
    body = "q, k = map(lambda t: t.transpose(1, 2), (q, k))\nreturn q @ k.mT"
    assert tree(returned(body)[1]) == "matmul(transpose(q, 1, 2), transpose(k, 1, 2))"
    recursive = "def twice(t):\n    return twice(t)\n"
    assert returned("return twice(x)", prelude=recursive)[1].op == "call"


def test_submodules_are_what_init_makes_them() -> None:
    source = """
class A(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.drop = nn.Dropout(p)
        self.attend = nn.Sequential(nn.Softmax(dim=-1), nn.Dropout(0.1))
        self.maybe = nn.Dropout(p) if p > 0 else nn.Identity()

    def f(self, x):
        return self.attend(self.drop(x)), self.maybe(x)
"""
    graph = graph_of(HEADER + source)
    drops = [value.attrs for value in graph.of("dropout")]
    assert drops[0] == ("module", "self.drop", "p")
    assert drops[1] == ("module", "self.attend[1]", 0.1)
    assert drops[2] == ("module", "self.maybe", "?")
    assert all(value.module for value in graph.of("dropout", "softmax"))


def test_every_use_is_counted() -> None:
    graph, _ = returned("w = x.softmax(-1)\nprint(w.shape)\ny = w @ v\nm(w)\nreturn y")
    (weights,) = graph.of("softmax")
    assert {use.user.op for use in graph.uses(weights) if use.user} == {"shape", "call", "matmul"}


def test_an_unread_join_is_no_use() -> None:
    body = "w = x.softmax(-1)\ny = w @ v\nif m is None:\n    w = None\nreturn y"
    graph, _ = returned(body)
    (weights,) = graph.of("softmax")
    assert [use.user.op for use in graph.uses(weights) if use.user] == ["matmul"]


def test_random_draws_are_never_shared() -> None:
    graph, _ = returned(
        "return F.dropout(x, 0.1) + F.dropout(x, 0.1) + torch.rand(2) + torch.rand(2)"
    )
    assert len(list(graph.of("dropout"))) == 2 and len(list(graph.of("torch.rand"))) == 2


def test_sizes_are_followed_through_views() -> None:
    body = "b, t, c = x.size()\ny = x.view(b, t, 4, c // 4).transpose(1, 2)\nreturn y.shape[2]"
    _graph, value = returned(body)
    assert tree(value) == "size(x, -2)"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exec(y)\nreturn x", "exec"),
        ("return " + "(" * 300 + "x" + ")" * 300, "nesting"),
        ("\n".join(f"x = x + y * {i}.5" for i in range(1500)) + "\nreturn x", "too large"),
    ],
)
def test_what_cannot_be_read_says_so(body: str, reason: str) -> None:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    assert graph_of(f"{HEADER}\ndef f(x, y):\n{lines}\n").opaque == reason


def test_code_with_errors_is_read_where_it_is_whole() -> None:
    graph = graph_of(HEADER + "\ndef f(x, y):\n    a = x @@ y\n    return x.softmax(-1)\n")
    assert list(graph.of("softmax"))
