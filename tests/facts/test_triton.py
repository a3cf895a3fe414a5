"""Triton facts: which functions are kernels, what calls compute, and where values come from."""

from __future__ import annotations

from cudalint.facts import PackageFacts
from cudalint.facts.python import PythonFacts
from cudalint.facts.triton import Triton
from cudalint.model import Source
from cudalint.settings import Settings

HEAD = "import triton\nimport triton.language as tl\n"


def triton(text: str) -> Triton:
    return Triton(PythonFacts(Source("kernel.py", text.encode()), Settings(), PackageFacts()))


def names(text: str) -> list[str]:
    return [kernel.name for kernel in triton(text).kernels]


def test_kernels_by_decorator() -> None:
    text = HEAD + (
        "@triton.autotune(configs=[], key=['n'])\n@triton.heuristics({})\n@triton.jit\n"
        "def a(x, n, BLOCK: tl.constexpr = 64):\n    pass\n"
        "@triton.jit(do_not_specialize=['n'])\ndef b(x, n):\n    pass\n"
        "def plain(x):\n    pass\n"
    )
    assert names(text) == ["a", "b"]
    first = triton(text).kernels[0]
    assert [(p.name, p.constexpr) for p in first.parameters] == [
        ("x", False),
        ("n", False),
        ("BLOCK", True),
    ]
    assert len(first.decorators) == 3


def test_kernels_by_imported_name_and_call() -> None:
    text = "from triton import jit as j, jit\nimport triton as tr\n"
    text += "@jit\ndef a(x):\n    pass\ndef b(x):\n    pass\nkernel = tr.jit(b)\n"
    text += "def c(x):\n    pass\nother = tr.jit(do_not_specialize=['n'])(c)\n"
    assert names(text) == ["a", "b", "c"]


def test_other_jits_are_none() -> None:
    text = "import numba, jax, torch\n"
    text += "@numba.jit\ndef a(x):\n    pass\n@jax.jit\ndef b(x):\n    pass\n"
    text += "@torch.jit.script\ndef c(x):\n    pass\n"
    assert names(text) == []


def test_operations_have_one_name() -> None:
    text = (
        HEAD + "from triton.language.extra import libdevice\nfrom triton.language import exp as e\n"
    )
    body = "    a = tl.exp(x)\n    b = tl.math.exp(x)\n    c = x.exp()\n    d = e(x)\n    f = libdevice.exp(x)\n"
    facts = triton(text + "@triton.jit\ndef k(x):\n" + body)
    kernel = facts.kernels[0]
    calls = [node for node in facts.facts.calls("exp", "e")]
    made = [facts.operation(call) for call in calls]
    assert [found.name if found else None for found in made] == ["exp"] * 5
    assert [facts.facts.code(found.operands[0]) for found in made if found] == ["x"] * 5
    assert len(list(facts.operations(kernel, "exp"))) == 5


def test_helpers_and_callers() -> None:
    text = HEAD + (
        "@triton.jit\ndef helper(x, scale=2.0):\n    return x * scale\n"
        "@triton.jit\ndef k(p, n):\n    y = helper(tl.load(p), n)\n    z = helper(y)\n"
        "def launch(x):\n    helper[(1,)](x)\n    return helper(x)\n"
    )
    facts = triton(text)
    helper, kernel = facts.kernels
    callers = facts.callers(helper)
    assert len(callers) == 2 and facts.callers(kernel) == []
    given = [facts.argument(helper, "scale", call) for call in callers]
    assert [facts.facts.code(node) for node in given if node] == ["n", "2.0"]
    assert [facts.facts.code(node) for node in facts.returned(helper)] == ["x * scale"]


def roots(body: str, name: str) -> frozenset[str]:
    facts = triton(HEAD + "@triton.jit\ndef k(p, stride, BLOCK: tl.constexpr):\n" + body)
    read = [node for node in facts.facts.identifiers(name)][-1]
    return facts.roots(read)


def test_roots_follow_definitions() -> None:
    body = "    i = tl.program_id(0)\n    o = i * stride + tl.arange(0, BLOCK)\n    x = tl.load(p + o)\n    x\n"
    assert roots(body, "x") == {
        "load",
        "program_id",
        "arange",
        "param:p",
        "param:stride",
        "param:BLOCK",
    }


def test_roots_follow_loops_branches_and_augmented_assignments() -> None:
    body = (
        "    a = tl.zeros([BLOCK], tl.float32)\n"
        "    for j in range(0, 8):\n        a += tl.load(p)\n"
        "    if BLOCK > 4:\n        a = tl.max(a, 0)\n"
        "    a\n"
    )
    assert {"zeros", "load", "max"} <= roots(body, "a")
    replaced = "    a = tl.load(p)\n    a = tl.arange(0, BLOCK)\n    a\n"
    assert roots(replaced, "a") == {"arange", "param:BLOCK"}


def test_unknown_calls_are_said_so() -> None:
    assert "unknown" in roots("    a = something(p)\n    a\n", "a")


def test_programs_and_lanes() -> None:
    text = HEAD + (
        "@triton.jit\ndef k(p, BLOCK: tl.constexpr):\n"
        "    row = tl.program_id(0)\n    lanes = tl.arange(0, BLOCK)\n    row\n    lanes\n"
    )
    facts = triton(text)
    row = list(facts.facts.identifiers("row"))[-1]
    lanes = list(facts.facts.identifiers("lanes"))[-1]
    assert facts.varies_by_program(row) and not facts.varies_by_lane(row)
    assert facts.varies_by_lane(lanes) and not facts.varies_by_program(lanes)
