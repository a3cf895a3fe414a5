"""What the CUDA fixes refuse, and why; what they write where the fixtures do not show it."""

from __future__ import annotations

import pytest

from cudalint.model import Refusal
from cudalint.registry import by_code
from tests.cuda.sources import facts_of
from tests.harness.linting import fixed

HEAD = "__global__ void k(float* x, const float* y, int n) {{\n{}\n}}\n"
HOST = "void f(float* x, const float* y, int n) { k<<<(n + 255) / 256, 256>>>(x, y, n); }\n"
INDEX = "int i = blockIdx.x * blockDim.x + threadIdx.x;"


def refusal(code: str, text: str) -> str:
    """Why the only finding in a text is not rewritten; empty where it is."""
    facts, rule = facts_of(text), by_code()[code]
    (finding,) = rule.load_check().check(facts)
    fixer = rule.load_fix()
    assert fixer is not None
    plan = fixer.plan(finding, facts)
    return plan.reason if isinstance(plan, Refusal) else ""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"{INDEX} if (i < n) x[i] = y[i];", ""),
        (f"{INDEX} if (i < n && n > 3) x[i] = y[i];", "no plain comparison"),
        (f"{INDEX} x[i] = y[i];", "not guarded"),
        (f"{INDEX} if (i < n) x[i] = y[i]; if (i == 0) x[0] = 1;", "follow the bound check"),
        ("int i = blockIdx.x * 256 + threadIdx.x; if (i < n) x[i] = y[i];", "own index"),
        (f"{INDEX} if (i < n) x[i] = y[i] + x[0];", "more than the element"),
        (f"{INDEX} if (i < n) x[i] = mystery(y[i]);", "`mystery` is not known"),
        (f"{INDEX} if (i < n) x[i] = y[i] + threadIdx.x;", "uses `threadIdx`"),
        (f"{INDEX} if (i < n) {{ if (n > 5) x[i] = y[i]; }}", "only under a condition"),
        (f"{INDEX} if (i < n) {{ x[i] = 1; x[i] = y[i]; }}", "`y` is read after `x` is written"),
        (f"{INDEX} if (i < n) x[i] = x[i] * 3.0f + y[i] * 2.0f;", "which product is fused"),
        (
            f"{INDEX} if (i < n) {{ float a = x[i] * 3.0f, b = y[i] * y[i]; x[i] = a - b; }}",
            "fused",
        ),
        (f"{INDEX} if (i < n) x[i] = y != nullptr ? y[i] : 0;", "more than the element"),
        (f"{INDEX} if (i < n) {{ n = 3; x[i] = y[i]; }}", "changes `n`"),
        (f"{INDEX} float s = y[i]; if (i < n) x[i] = s;", "outside the loop or bound check"),
        (f"{INDEX} if (i < n) {{\n#ifdef A\n x[i] = y[i];\n#endif\n }}", "preprocessor"),
        (
            "for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x) x[i] = y[i];",
            "strides of the whole grid",
        ),
        (
            "for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x)"
            " { x[i] = y[i]; if (i > 9) return; }",
            "leaves the loop",
        ),
    ],
)
def test_cuk001_rewrites_only_what_is_proven(body: str, reason: str) -> None:
    found = refusal("CUK001", HEAD.format(body) + HOST)
    assert reason in found if reason else found == ""


def test_cuk001_wants_launches_that_cover() -> None:
    kernel = HEAD.format(f"{INDEX} if (i < n) x[i] = y[i];")
    assert "no launch is in sight" in refusal("CUK001", kernel)
    host = "void f(float* x, const float* y, int n) { k<<<4, 256>>>(x, y, n); }\n"
    assert "not known to cover" in refusal("CUK001", kernel + host)
    assert "overloaded" in refusal("CUK001", kernel + "__global__ void k(double* x) {}\n" + HOST)


def test_cuk001_renames_around_taken_names_and_turns_continue_into_return() -> None:
    text = HEAD.format(
        "  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) {\n"
        "    float y_i = y[i];\n    x[i] += y_i;\n    if (y_i < 0.0f) continue;\n    x[i] *= 2.0f;\n  }"
    )
    after = fixed(text + HOST, ("CUK001",), "cuda").source.text.decode()
    assert "float y_i_) {" in after and "float y_i = y_i_;" in after
    assert "if (y_i < 0.0f) return;" in after


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("for (int i = 0; i < n; ++i) s += expf(y[i]);", ""),
        (
            "for (int i = threadIdx.x; i < n; i += 32) s += expf(y[i]); s = warp_sum(s);",
            "different rows",
        ),
        ("for (int i = 0; i < n; ++i) s += expf(y[i]); x[n] = s;", "the sum is used elsewhere"),
        ("float v; for (int i = 0; i < n; ++i) { v = y[i]; s += expf(v); }", "loop's variable"),
        ("for (int i = 0; i < n; ++i) { x[i] = y[i]; s += expf(x[i]); }", "keeps the exponentials"),
        ("int i = 0; while (i < n) { s += expf(y[i]); ++i; }", "not in sight"),
        ("for (int i = 0; i < n; ++i) s += expf(y[next()]);", "loop's variable"),
        ("if (n) for (int i = 0; i < n; ++i) s += expf(y[i]);", "without braces"),
    ],
)
def test_cuk002_subtracts_only_where_one_thread_walks_the_row(body: str, reason: str) -> None:
    last = "x" if "x[i] = y" in body else "y"
    text = HEAD.format(
        f"float s = 0.0f;\n{body}\nfor (int i = 0; i < n; ++i) x[i] = expf({last}[i]) / s;"
    )
    found = refusal("CUK002", text)
    assert reason in found if reason else found == ""


def test_cuk002_keeps_exponentials_that_are_the_result() -> None:
    text = HEAD.format(
        "float s = 0.0f;\nfor (int i = 0; i < n; ++i) { x[i] = expf(y[i]); s += x[i]; }\n"
        "x[0] = expf(y[0]) / s;"
    )
    assert refusal("CUK002", text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("void f() { k<<<1, 1>>>(); }", "no check of its own"),
        ("#include <torch/extension.h>\nvoid f() { k<<<1, 1>>>(); }", ""),
        ("#include <torch/csrc/stable/library.h>\nvoid f() { k<<<1, 1>>>(); }", "no check"),
        ("#define L k<<<1, 1>>>()\nvoid f() { L; }", "stands in a macro"),
        ("void f() { k<<<1, 1>>>(), g(); }", "larger expression"),
        ("void g() { CUDA_CHECK(cudaMalloc(&p, 1)); }\nvoid f() { k<<<1, 1>>>(); }", ""),
        ("void f() { k<<<1, 1>>>(); }\n#define CHECK(e) if ((e) != cudaSuccess) die()", "no check"),
    ],
)
def test_cuk007_adds_only_checks_that_exist(text: str, reason: str) -> None:
    found = refusal("CUK007", "__global__ void k() {}\n" + text + "\n")
    assert reason in found if reason else found == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    k<<<1, 1>>>();\n", "    k<<<1, 1>>>();\n    CHECK(cudaGetLastError());\n"),
        ("\tk<<<1, 1>>>();  // go\n", "\tk<<<1, 1>>>();  // go\n\tCHECK(cudaGetLastError());\n"),
        (
            "    for (;;) k<<<1, 1>>>();\n",
            "    for (;;) { k<<<1, 1>>>(); CHECK(cudaGetLastError()); }\n",
        ),
        (
            "    if (a)\n        k<<<1, 1>>>();\n    else\n        g();\n",
            "    if (a) {\n        k<<<1, 1>>>();\n        CHECK(cudaGetLastError());\n    }\n"
            "    else\n        g();\n",
        ),
        (
            "    run([&] { k<<<1, 1>>>(); });\n",
            "    run([&] { k<<<1, 1>>>(); CHECK(cudaGetLastError()); });\n",
        ),
        ("    k<<<1, 1>>>();\r\n", "    k<<<1, 1>>>();\r\n    CHECK(cudaGetLastError());\r\n"),
    ],
)
def test_cuk007_finds_the_place(before: str, after: str) -> None:
    head = "#define CHECK(e) do { if ((e) != cudaSuccess) abort(); } while (0)\n__global__ void k() {}\n"
    if "\r" in before:
        head = head.replace("\n", "\r\n")
    end = "}\r\n" if "\r" in before else "}\n"
    start = head + ("void f(bool a) {\r\n" if "\r" in before else "void f(bool a) {\n")
    done = fixed(start + before + end, ("CUK007",), "cuda").source.text.decode()
    assert done == start + after + end
