"""Attention that must not be rewritten: each adversary is silent, or refused for its reason."""

from __future__ import annotations

import pytest

from cudalint.checks.fusion.unfused_attention import check
from cudalint.fixes.fusion.unfused_attention import plan
from cudalint.model import Refusal
from tests.graph.adversarial import ADVERSARIES, Adversary
from tests.graph.making import facts_of


@pytest.mark.parametrize("adversary", ADVERSARIES, ids=lambda adversary: adversary.name)
def test_no_adversary_is_rewritten(adversary: Adversary) -> None:
    compile(adversary.source, adversary.name, "exec")
    facts = facts_of(adversary.source)
    findings = list(check(facts))
    if adversary.refused is None:
        assert not findings
        return
    (finding,) = findings
    planned = plan(finding, facts)
    assert isinstance(planned, Refusal), planned.data["text"]
    assert adversary.refused in planned.reason
