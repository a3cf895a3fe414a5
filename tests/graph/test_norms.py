"""Norms in value graphs: modules that are called twice, helpers, and what must not be rewritten."""

from __future__ import annotations

import pytest

from cudalint.checks.fusion import unfused_adaptive_norm, unfused_residual_norm
from cudalint.facts.graph.patterns.norm_calls import norms_of
from cudalint.facts.python import PythonFacts
from cudalint.fixes.fusion import unfused_residual_norm as residual_fix
from cudalint.model import Plan, Refusal
from cudalint.selection import Selection
from tests.graph.making import facts_of, graph_of

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
BLOCK = """
from library import RMSNorm

class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.one, self.two = nn.LayerNorm(n), nn.LayerNorm(n)
        self.other = RMSNorm(n)
        self.f = nn.Linear(n, n)

    def forward(self, x):
"""


def program(body: str) -> str:
    return HEADER + BLOCK + "".join(f"        {row}\n" for row in body.strip().split("\n"))


def asked(body: str) -> PythonFacts:
    """Facts of a block's `forward`, where fixes without a kernel are asked for by name."""
    chosen = Selection(extend_fixable=("CUF006", "CUF014"))
    return facts_of(program(body), selections=(chosen,))


def residual(body: str) -> list[Plan | Refusal]:
    facts = asked(body)
    return [residual_fix.plan(one, facts) for one in unfused_residual_norm.check(facts)]


def test_a_submodule_stays_known_when_it_is_called_again() -> None:
    graph = graph_of(program("a = self.one(x)\nb = self.one(a)\nreturn self.one(b)"), "forward")
    assert [value.attrs[0] for value in graph.of("module")] == ["LayerNorm"] * 3


def test_a_norm_of_elsewhere_writes_nothing() -> None:
    graph = graph_of(program("y = self.other(x)\nreturn x + y"), "forward")
    assert not list(graph.of("opaque"))


def test_a_maximum_along_a_parameter_is_no_maximum_of_two() -> None:
    graph = graph_of(HEADER + "def f(x, dim):\n    return x.max(dim=dim, keepdim=True)[0]\n")
    assert list(graph.of("amax")) and not list(graph.of("maximum"))


def test_variance_and_mean_together_are_what_they_are_alone() -> None:
    source = (
        "def f(x):\n    v, m = torch.var_mean(x, -1, correction=0, keepdim=True)\n    return v, m\n"
    )
    graph = graph_of(HEADER + source)
    assert [value.attrs for value in graph.of("var", "mean")] == [
        ((-1,), True, False),
        ((-1,), True),
    ]


@pytest.mark.parametrize(
    ("spelling", "why"),
    [
        ("F.layer_norm(x, (8,), eps=1e-6)", None),
        ("F.layer_norm(x, x.shape[-1:])", None),
        ("F.layer_norm(x, x.shape[1:])", "the normalized shape may have several dims"),
        ("F.layer_norm(x, (4, 8))", "the normalized shape may have several dims"),
        ("F.rms_norm(x, (8,))", "its epsilon is that of the dtype"),
        ("nn.LayerNorm(8)(x)", "the module that makes it is not known"),
    ],
)
def test_norms_that_cannot_be_written_say_why(spelling: str, why: str | None) -> None:
    facts = facts_of(HEADER + f"def f(x):\n    return {spelling}\n")
    function = next(n for n in facts.root.named_children if n.type == "function_definition")
    (norm,) = norms_of(facts, facts.graphs.of(function))
    assert norm.why == why


@pytest.mark.parametrize(
    "body",
    [
        "h = x + self.f(x)\nif self.last:\n    return h\nreturn h + self.f(self.two(h))",
        "h = x + self.f(x)\ny = self.two(h) if self.pre else h\nreturn h + y",
        "h = x + self.f(x)\nreturn h + (self.pre and self.two(h))",
        "h = x + self.f(x)\nwith torch.no_grad():\n    y = self.two(h)\nreturn h + y",
        "h = x + self.f(x)\nh = h.tanh()\nreturn h + self.two(h)",
        "for f in self.layers:\n    x = x + f(x)\nreturn x + self.two(x)",
    ],
)
def test_a_norm_that_may_not_run_is_not_moved(body: str) -> None:
    assert not residual(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("h = x + self.f(x)\ny = self.two(h)\nh += self.f(y)\nreturn h", "changed in place later"),
        ("x += self.f(x)\nreturn x + self.two(x)", "others may see"),
        ("h = torch.add(x, self.f(x))\nreturn h, self.two(h)", "no statement of its own"),
        ("h = self.h = x + self.f(x)\nreturn h, self.two(h)", "no statement of its own"),
        ("h = x + self.f(x)\nreturn h, self.other(h)", "not of this file"),
    ],
)
def test_sums_that_must_stay_say_why(body: str, reason: str) -> None:
    (refusal,) = residual(body)
    assert isinstance(refusal, Refusal) and reason in refusal.reason


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    (plan,) = residual(
        "normed = self.one(x)\nh = x + self.f(normed)\nreturn h + self.f(self.two(h))"
    )
    assert isinstance(plan, Plan)
    assert b"normed_2, h = add_layer_norm(" in plan.data["edits"][0].content


def test_a_name_in_between_keeps_the_norm_in_its_place() -> None:
    body = "h = x + self.f(x)\ny = y_of(h.shape)\nz = y\ny = self.two(h)\nreturn h + y + z"
    (plan,) = residual(body)
    assert isinstance(plan, Plan)
    assert plan.data["edits"][0].content.startswith(b"normed_h, h = ")


def test_sums_that_overlap_get_names_of_their_own() -> None:
    """Their fixes are written at once, and neither sees the other's name."""
    body = (
        "h = x + self.f(x)\ng = x + self.g(x)\ny = self.two(h)\nz = self.two(g)\nreturn h, g, y + z"
    )
    plans = residual(body.replace("y = self.two(h)", "y = 1 + self.two(h)"))
    names = [
        plan.data["edits"][0].content.split(b",")[0] for plan in plans if isinstance(plan, Plan)
    ]
    assert len(names) == 2 and names[0] != names[1], plans
    again = (
        "h = x + self.f(x)\nold = h\nh = 1 + self.f(h)\ny = 1 + self.two(old)\nreturn h + y + old"
    )
    (plan,) = residual(again)
    assert isinstance(plan, Refusal) and "bound again" in plan.reason


@pytest.mark.parametrize(
    "body",
    [
        "s, t = self.f(x).chunk(2, -1)\nreturn self.one(x) * (2 + s) + t",
        "s, t = self.f(x).chunk(2, -1)\nreturn self.one(x) * (1 + s) - t.sum()",
        "s, t = self.f(x).chunk(2, -1)\nreturn self.f(x) * (1 + s) + t",
        "return self.one(x) * (1 + 0.5) + 0.25",
    ],
)
def test_look_alikes_are_not_adaptive(body: str) -> None:
    found = list(unfused_adaptive_norm.check(asked(body)))
    assert not found, [one.message for one in found]
