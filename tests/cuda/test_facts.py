"""Facts of CUDA files: functions, types, launches, macros, and the form of indices."""

from __future__ import annotations

import pytest

from cudalint.facts.cuda.affine import BLOCK_SIZE, GLOBAL_RANK, RANK, Kind
from cudalint.facts.cuda.contiguous import is_vectorized, pattern, takes_vectors
from cudalint.facts.cuda.geometry import covers
from tests.cuda.sources import accesses, facts_of, kernel_of


def test_functions_by_kind() -> None:
    facts = facts_of(
        "static __device__ __forceinline__ int helper(int i) { return i; }\n"
        'extern "C" __global__ void __launch_bounds__(256) kernel(float* x) { x[0] = helper(1); }\n'
        "template <typename T, int N> struct S { __device__ void member(T t) {} };\n"
        "template <typename T> void A<T>::host() {}\n"
        "CUTLASS_DEVICE int by_macro() { return 1; }\n"
    )
    kinds = {one.name: (one.is_kernel, one.is_device) for one in facts.functions}
    assert kinds == {
        "helper": (False, True),
        "kernel": (True, False),
        "member": (False, True),
        "host": (False, False),
        "by_macro": (False, True),
    }
    member = facts.by_name["member"][0]
    assert (member.owner, member.templates, member.values) == ("S", {"T"}, {"N"})


@pytest.mark.parametrize(
    ("spelled", "size", "lanes", "pointer"),
    [
        ("const float* __restrict__ p", 4, 1, 1),
        ("half2* p", 4, 2, 1),
        ("float4 const* p", 16, 4, 1),
        ("__nv_bfloat162* p", 4, 2, 1),
        ("const unsigned long long* p", 8, 1, 1),
        ("unsigned char p[]", 1, 1, 0),
        ("at::Half* p", 2, 1, 1),
        ("T* p", None, 1, 1),
        ("T2* p", None, 0, 1),
        ("real* p", 4, 1, 1),
        ("pack* p", 16, 4, 1),
        ("floatX* p", None, 1, 1),
        ("uint8_t** p", 1, 1, 2),
        ("Struct* p", None, 0, 1),
        ("std::vector<int>& p", None, 0, 0),
        ("int p", 4, 1, 0),
    ],
)
def test_types(spelled: str, size: int | None, lanes: int, pointer: int) -> None:
    text = "typedef float real;\nusing pack = uint4;\n" + (
        f"template <typename T, typename T2> __global__ void k({spelled}) {{}}\n"
    )
    kind = kernel_of(text).parameters[0].type
    assert (kind.size, kind.lanes, kind.pointer) == (size, lanes, pointer)


def test_a_type_of_several_branches_is_some_number() -> None:
    text = "#ifdef A\ntypedef float real;\n#else\ntypedef half real;\n#endif\n__global__ void k(real* x) {}\n"
    kind = kernel_of(text).parameters[0].type
    assert kind.is_number and kind.size is None


def test_launches() -> None:
    facts = facts_of(
        "template <typename T> __global__ void k(T* x, int n) {}\n"
        "void f(float* x, cudaStream_t s) { ns::k<float><<<dim3(1, 2), 256, 0, s>>>(x, 4); }\n"
        "#define LAUNCH(n) \\\n  k<half><<<1, n>>>(x, n); \\\n  check()\n"
    )
    first, second = facts.launches
    assert (first.kernel, first.templates) == ("k", ("float",))
    assert first.function is not None and first.function.name == "f"
    assert first.stream is not None and facts.code(first.stream) == "s"
    assert [facts.code(one) for one in first.arguments] == ["x", "4"]
    assert second.function is not None and second.function.macro is not None
    assert facts.code(second.node) == "k<half><<<1, n>>>(x, n)"


def test_kernels_inside_macros() -> None:
    text = (
        "#define UNARY(name, op) \\\n"
        "  __global__ void name##_kernel(float* x, int n) { \\\n"
        "    int i = blockIdx.x * blockDim.x + threadIdx.x; \\\n"
        "    if (i < n) x[i] = op(x[i]); \\\n"
        "  }\n"
    )
    kernel = kernel_of(text)
    assert kernel.macro is not None and kernel.is_whole
    access = kernel.facts.values(kernel).accesses[0]
    assert kernel.facts.code(access.node) == "x[i]"


@pytest.mark.parametrize(
    ("body", "offset"),
    [
        ("int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = 0;", GLOBAL_RANK),
        ("int t = threadIdx.x, b = blockIdx.x; y[t + b * blockDim.x] = 0;", GLOBAL_RANK),
        ("int i = blockIdx.x; i *= blockDim.x; i += threadIdx.x; y[i] = 0;", GLOBAL_RANK),
        (
            "int i = __umul24(1, 1); i = blockDim.x * blockIdx.x; *(y + i + threadIdx.x) = 0;",
            GLOBAL_RANK,
        ),
        ("float* row = y + blockIdx.x * blockDim.x; row[threadIdx.x] = 0;", GLOBAL_RANK),
        ("y += blockIdx.x * blockDim.x; y[(int)threadIdx.x] = 0;", GLOBAL_RANK),
        ("int i = static_cast<int>(threadIdx.x); y[i] = 0;", RANK),
        ("int i = threadIdx.x; int c = i % C, r = i / C; y[r * C + c] = 0;", RANK),
        ("int w = threadIdx.x >> 5, l = threadIdx.x & 31; y[(w << 5) | 0 + l * 0 + 0] = 0;", None),
        ("int w = threadIdx.x >> 5, l = threadIdx.x & 31; y[w * 32 + l] = 0;", RANK),
        ("float& e = y[threadIdx.x]; e = 0;", RANK),
        ("int i = n > 3 ? threadIdx.x : threadIdx.x; y[i] = 0;", RANK),
    ],
)
def test_indices(body: str, offset: object) -> None:
    stored = [access for access in accesses(body) if access.stores][-1]
    if offset is None:
        assert stored.pointer.offset.kind > Kind.THREAD
    else:
        assert stored.pointer.offset == offset


def test_macros_and_helpers_are_read_where_they_are_called() -> None:
    kernel = kernel_of(
        "#define IDX(r, c) ((r) * n + (c))\n"
        "#define FLOAT4(v) (reinterpret_cast<float4*>(&(v))[0])\n"
        "__device__ int gid() { return blockIdx.x * blockDim.x + threadIdx.x; }\n"
        "__device__ void put(float* p, int i, float v) { p[i] = v; }\n"
        "__global__ void k(float* x, int n) {\n"
        "  x[gid()] = 0;\n  x[IDX(blockIdx.x, threadIdx.x)] = 0;\n"
        "  put(x, threadIdx.x, 1.0f);\n  FLOAT4(x[4 * threadIdx.x]) = v;\n}\n"
    )
    stores = kernel.facts.values(kernel).accesses
    assert stores[0].pointer.offset == GLOBAL_RANK
    assert stores[1].pointer.offset.coefficient("threadIdx.x") is not None
    assert (stores[2].pointer.offset, stores[2].inlined) == (RANK, True)
    assert (stores[3].pointer.type.lanes, kernel.facts.code(stores[3].node)) == (
        4,
        "FLOAT4(x[4 * threadIdx.x])",
    )


def test_loops_have_steps_bounds_and_turns() -> None:
    body = "for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = x[i];"
    access = accesses(body)[0]
    loop = access.loops[0]
    assert (loop.variable, loop.first, loop.step) == ("i", RANK, BLOCK_SIZE)
    assert access.pointer.offset.coefficient(loop.turn) == BLOCK_SIZE
    assert access.pointer.offset.without(loop.turn) == RANK


@pytest.mark.parametrize(
    "loop",
    [
        "CUDA_KERNEL_LOOP(i, n) { y[i] = 0; }",
        "CUDA_1D_KERNEL_LOOP_T(int64_t, i, n) y[i] = 0;",
        "int i = blockIdx.x * blockDim.x + threadIdx.x; while (i < n) { y[i] = 0; i += gridDim.x * blockDim.x; }",
        "for (auto i : grid_stride_range(n)) y[i] = 0;",
    ],
)
def test_other_loops(loop: str) -> None:
    access = accesses(loop)[0]
    known = "range" not in loop
    factor = access.pointer.offset.coefficient("threadIdx.x")
    assert (factor is not None and factor.constant == 1) == known


def test_what_differs_between_threads() -> None:
    kinds = [
        accesses(f"int i = {index}; y[i] = 0;")[-1].pointer.offset.kind
        for index in (
            "n",
            "blockIdx.x * C",
            "threadIdx.x",
            "threadIdx.x / C",
            "(int)x[threadIdx.x]",
            "f(n)",
        )
    ]
    assert kinds == [
        Kind.UNIFORM,
        Kind.UNIFORM,
        Kind.THREAD,
        Kind.PIECEWISE,
        Kind.VARYING,
        Kind.UNKNOWN,
    ]


def test_branches_join_and_early_returns_guard() -> None:
    body = (
        "int i = 0; if (n > 1) i = 1; else i = 2; y[i] = 0; if (threadIdx.x >= n) return; y[n] = 1;"
    )
    first, second = accesses(body)
    assert first.pointer.offset.kind == Kind.UNIFORM and not first.guards
    assert [(guard.kind, guard.negated) for guard in second.guards] == [(Kind.VARYING, True)]


def test_shared_memory_is_told_from_global() -> None:
    body = "__shared__ float s[8][33]; s[threadIdx.y][threadIdx.x] = x[n]; extern __shared__ float d[]; d[0] = 1;"
    spaces = [access.pointer.space for access in accesses(body)]
    assert spaces == ["global", "shared", "shared"]


def test_vectors_are_known_in_any_dress() -> None:
    def kernel(head: str, body: str) -> bool:
        return is_vectorized(
            kernel_of(f"{head}\n__global__ void k(float* x, float* y) {{ {body} }}")
        )

    assert kernel("", "reinterpret_cast<float4*>(y)[0] = reinterpret_cast<float4*>(x)[0];")
    assert kernel("#define V(p) (*(float2*)(p))", "V(y) = V(x);")
    assert kernel("using pack = int4;", "((pack*)y)[0] = ((pack*)x)[0];")
    assert kernel("__device__ void copy(float* a) { *(float4*)a = z; }", "copy(x);")
    assert kernel("", 'asm volatile("ld.global.v4.f32 {%0}, [%1];" : "=f"(a) : "l"(x));')
    assert not kernel("", "float vec = x[0]; y[0] = vec;")


def test_launched_with_vectors() -> None:
    text = "template <typename T> __global__ void k(T* x) {}\nvoid f(float* x) { k<TYPE><<<1, 1>>>((TYPE*)x); }"
    assert takes_vectors(kernel_of(text.replace("TYPE", "float4")))
    assert not takes_vectors(kernel_of(text.replace("TYPE", "float")))


def test_patterns() -> None:
    kernel = kernel_of(
        "__global__ void k(float* x, const float* bias, const int* at, float* y, int n) {\n"
        "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
        "  y[i] = x[i] + bias[i % n] + bias[0] + x[at[i]];\n}"
    )
    found = pattern(kernel)
    code = kernel.facts.code
    assert {code(one.node) for one in found.dense} == {"x[i]", "at[i]", "y[i]"}
    assert {code(one.node) for one in found.neutral} == {"bias[i % n]", "bias[0]"}
    assert [code(one.node) for one in found.scattered] == ["x[at[i]]"]


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("k<<<(n + 255) / 256, 256>>>(x, n);", True),
        ("const int threads = 128; k<<<(n + threads - 1) / threads, threads>>>(x, n);", True),
        ("int block = 256; int grid = (n + block - 1) / block; k<<<grid, block>>>(x, n);", True),
        ("k<<<(n - 1) / 64 + 1, 64>>>(x, n);", True),
        ("k<<<n / 64 + 1, 64>>>(x, n);", True),
        ("k<<<ceil_div(n, 64), 64>>>(x, n);", True),
        ("dim3 block(64); dim3 grid((n + 63) / 64); k<<<grid, block>>>(x, n);", True),
        ("k<<<4, 256>>>(x, 1024);", True),
        ("run([&] { k<<<(n + 255) / 256, 256>>>(x, n); });", True),
        ("k<<<4, 256>>>(x, n);", False),
        ("k<<<4, 256>>>(x, 1025);", False),
        ("k<<<n / 64, 64>>>(x, n);", False),
        ("k<<<(n + 255) / 256, 128>>>(x, n);", False),
        ("k<<<(m + 255) / 256, 256>>>(x, n);", False),
        ("k<<<blocks(n), 256>>>(x, n);", False),
    ],
)
def test_grids_that_cover(host: str, covered: bool) -> None:
    facts = facts_of(
        f"__global__ void k(float* x, int n) {{}}\nvoid f(float* x, int n, int m) {{ {host} }}\n"
    )
    assert covers(facts.launches[0], facts.kernels[0], "n") == covered
