"""Blanking: as long as before, harmless where nothing is wrong, and enough for the grammar."""

from __future__ import annotations

import pytest

from cudalint.blank import blanked
from cudalint.facts.cuda.functions import is_broken
from tests.cuda.sources import facts_of

BREAKING = {
    "align": "__global__ void k() { extern __shared__ __align__(16) unsigned char smem[]; }",
    "align by sizeof": "__global__ void k() { __shared__ __align__(sizeof(double) * (1 + 1)) char s[64]; }",
    "alignas": "__global__ void k() { alignas(16) float4 v[N / 4] = {make_float4(0, 0, 0, 0)}; }",
    "attribute": "__global__ void k() { using v = __attribute__((__vector_size__((N / 2) * sizeof(int)))) int; }",
    "maybe_unused": "__global__ void k() { [[maybe_unused]] __align__(16) float a[4]; }",
    "launch bounds": "__global__ void __launch_bounds__(256, (N > 4) ? 2 : 1) k(float* x) { x[0] = 1; }",
    "macro for them": "C10_LAUNCH_BOUNDS_1(1024)\n__global__ void k(float* x) { x[0] = 1; }",
    "cluster": "__global__ void __cluster_dims__(2, 1, 1) k(float* x) { x[0] = 1; }",
    "grid constant": "__global__ void k(const __grid_constant__ CUtensorMap map, CUTE_GRID_CONSTANT T const t) {}",
    "restrict": "__global__ void k(const float* RESTRICT x, float* __restrict y) { y[0] = x[0]; }",
    "device lambda": "__global__ void k(float* x) { each(x, [=] __device__(float& v) { v = 1; }); }",
    "host device lambda": "void f() { run([&] __host__ __device__ (int i) mutable { g(i); }, 3); }",
    "lambda macro": "__global__ void k() { sort(s, [&] GPU_LAMBDA(const auto& a, const auto& b) { return a < b; }); }",
    "pragma macro": "__global__ void k() {\n  CUTLASS_PRAGMA_UNROLL\n  for (int i = 0; i < 4; ++i) f(i);\n}",
    "pragma between heads": "__global__ void k() {\n  for (int i = 0; i < 4; ++i)\n#pragma unroll\n    for (int j = 0; j < 4; ++j) f(i, j);\n}",
    "loop macro": "__global__ void k(int n) { CUDA_1D_KERNEL_LOOP(j, n / 4) x[j] = 1; }",
    "loop macro with a block": "__global__ void k(int n) {\n  CUDA_KERNEL_LOOP_TYPE(i, n, int64_t)\n  {\n    x[i] = 1;\n  }\n}",
    "qualifier macro": "CUTLASS_DEVICE\nvoid f(int i) { g(i); }\nC10_HOST_DEVICE inline int h() { return 1; }",
    "typename": "__global__ void k() { auto t = typename S::Pair{a, {b, c}}; typename T::Scan(s).Sum(a, b); }",
    "decltype": "__global__ void k() { for (auto i = decltype(n){0}; i < n; ++i) f(i); }",
    "namespace macro": "__global__ void k() { using L = ROCM_HIPCUB(at::cub)::BlockLoad<T, 4>; }",
    "words for operators": "__global__ void k() {\n#if defined(A) and (B >= 9) or not C\n  f();\n#endif\n}",
    "condition in the head": "__global__ void\n#if USE_BOUNDS\n__launch_bounds__(N, 2)\n#endif\nk(float* x) { x[0] = 1; }",
    "condition in the parameters": "__global__ void k(\n#ifdef FP8\n  float scale,\n#endif\n  float* x) { x[0] = 1; }",
    "condition in a call": "__global__ void k(float* x) { f(x,\n#ifdef FAST\n  1\n#else\n  2\n#endif\n); }",
    "condition with a brace": "__global__ void k(int n) {\n#ifdef A\n  if (n > 1) {\n#else\n  if (n > 2) {\n#endif\n    f();\n  }\n}",
    "else behind endif": "__global__ void k(int n) {\n  if (n) { f(); }\n#ifdef BF16\n  else if (n > 1) { g(); }\n#endif\n  else { h(); }\n}",
    "macro without a semicolon": "__global__ void k(int n) {\n  if (n)\n    CASE(0)\n}",
    "unreachable": "__global__ void k(int n) { UNREACHABLE_CODE }",
}


@pytest.mark.parametrize("text", BREAKING.values(), ids=BREAKING)
def test_what_breaks_the_grammar_is_blanked(text: str) -> None:
    data = text.encode()
    out = blanked(data)
    assert len(out) == len(data)
    assert out.count(b"\n") == data.count(b"\n")
    facts = facts_of(text)
    assert facts.functions, "no function was read"
    assert all(function.is_whole for function in facts.functions)
    assert not is_broken(facts.root)


@pytest.mark.parametrize(
    "text",
    [
        "__global__ void k(float* x) { x[threadIdx.x] = 1; }",
        "// __align__ and UNROLL are only mentioned\nint a;\n",
        "#ifndef A_H\n#define A_H\n#ifdef B\nint a;\n#else\nint b;\n#endif\n#endif\n",
        "template <typename T, typename U = typename T::X> struct S { typename T::Y y; };",
        "",
    ],
)
def test_what_the_grammar_reads_stays(text: str) -> None:
    data = text.encode()
    assert (
        blanked(data).replace(b" ", b"") == data.replace(b"__align__ and ", b"").replace(b" ", b"")
        or blanked(data) == data
    )


def test_both_branches_are_kept_where_they_are_statements() -> None:
    text = b"void f() {\n#ifdef A\n  g(1);\n#else\n  g(2);\n#endif\n}\n"
    assert blanked(text) == text


def test_dead_code_goes_and_hip_gives_way() -> None:
    text = b"#if 0\nint dead;\n#else\nint alive;\n#endif\nvoid f(int a\n#ifdef USE_ROCM\n, int hip\n#else\n, int cuda\n#endif\n);\n"
    out = blanked(text)
    assert b"dead" not in out and b"alive" in out
    assert b"hip" not in out and b"int cuda" in out


def test_hip_branches_are_known() -> None:
    text = "void f() {\n#ifdef USE_ROCM\n  hip();\n#elif defined(CUDA)\n  cuda();\n#endif\n}\n"
    facts = facts_of(text)
    assert facts.is_hip(text.index("hip()"))
    assert not facts.is_hip(text.index("cuda()"))


@pytest.mark.parametrize("letter", ["(", "{", "["])
def test_thousands_of_brackets_do_no_harm(letter: str) -> None:
    closing = {"(": ")", "{": "}", "[": "]"}[letter]
    text = f"__global__ void k() {{ {letter * 5000}{closing * 5000}; }}"
    for one in (text, text[:4000]):
        facts = facts_of(one)
        for kernel in facts.kernels:
            facts.values(kernel)


def test_line_endings_and_truncated_macros() -> None:
    for text in (
        b"#pragma unroll\r\nint a;\r\n",
        b"#define A \\",
        b"#if 1\n",
        b"#endif\n",
        b'"__align__(',
    ):
        assert len(blanked(text)) == len(text)
