"""What the comparison on others' packages rests on: which functions changed, and small builds."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.real_models import changed, report
from benchmarks.real_models.building import WIDTH, attempts, small

BEFORE = """
def free(x):
    return x

class A:
    def one(self):
        y = 1
        return y

    def two(self):
        return 2
"""


def test_the_functions_that_changed() -> None:
    after = BEFORE.replace("        y = 1\n        return y\n", "        return 1\n")
    assert changed.functions(BEFORE, after) == ["A.one"]
    assert changed.functions(
        BEFORE, "import torch\n" + BEFORE.replace("return x", "return -x")
    ) == ["free"]


class Norm(nn.Module):
    def __init__(self, hidden_size, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))

    def forward(self, hidden_states):
        return hidden_states * self.weight


def test_a_class_is_built_from_the_names_of_its_parameters() -> None:
    norm = small(Norm)
    assert norm.weight.shape == (WIDTH,) and not torch.equal(norm.weight, torch.ones(WIDTH))
    assert norm(**next(attempts(norm.forward))).shape[-1] == WIDTH


def test_results_that_differ_are_told_from_rounding() -> None:
    run = {"guess": 0, "outputs": [torch.ones(3)], "gradients": {"w": torch.ones(2)}, "ran": {"f"}}
    job = {"module": "m", "functions": ["f"]}
    for change, verdict in ((1e-7, "agrees"), (1e-2, "DIFFERS")):
        other = run | {"outputs": [torch.ones(3) + change]}
        sides = [{"runs": {"f": one}, "missing": [], "failures": []} for one in (run, other)]
        assert report.trial(job, *sides)["verdict"] == verdict
    assert report.trial(job, sides[0], {"import": "gone"})["verdict"] == "BROKEN IMPORT"
