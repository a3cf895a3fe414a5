"""CUK001's fix is exact: the kernels before and after, side by side in one program, on sizes that
divide and do not, on pointers that are aligned and are not, under grids that cover and do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cuda.nvcc import compiled, output
from tests.harness.linting import fixed, found

INCLUDES = """
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
"""

# Each is launched by a function (T* x, T* y, const U* z, int n, int blocks, int threads).
KERNELS = """
__device__ inline float swish(float v) { return v / (1.0f + __expf(-v)); }

__global__ void guarded(float* x, float* y, const float* z, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        y[i] = swish(x[i]) * z[i] + 0.1f;
    }
}

void run_guarded(float* x, float* y, const float* z, int n, int, int threads) {
    guarded<<<(n + threads - 1) / threads, threads>>>(x, y, z, n);
}

__global__ void early_return(float* __restrict__ x, float* __restrict__ y, const float* z, int n) {
    const unsigned int idx = threadIdx.x + blockDim.x * blockIdx.x;
    if (idx >= n) return;
    const float v = z[idx] * 3.0f + y[idx] / float(1 + idx % 7);
    y[idx] = v;
    x[idx] *= 0.5f;
}

void run_early_return(float* x, float* y, const float* z, int n, int, int threads) {
    const int grid = (n - 1) / threads + 1;
    early_return<<<grid, threads>>>(x, y, z, n);
}

__global__ void grid_stride(float* x, float* y, const float* z, int n) {
    const int stride = blockDim.x * gridDim.x;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        if (z[i] > 0.0f)
            y[i] = fmaf(x[i], z[i], 1.0f);
        else
            y[i] = -x[i];
    }
}

void run_grid_stride(float* x, float* y, const float* z, int n, int blocks, int threads) {
    grid_stride<<<blocks, threads>>>(x, y, z, n);
}

__global__ void halves(__half* x, __half* y, const float* z, int n) {
    for (long i = (long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x) {
        y[i] = __float2half(__half2float(x[i]) * z[i]);
    }
}

void run_halves(__half* x, __half* y, const float* z, int n, int blocks, int threads) {
    halves<<<blocks, threads>>>(x, y, z, n);
}

template <typename T>
__global__ void templated(T* x, T* y, const T* z, int rows, int columns) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * columns) y[i] = x[i] + z[i];
}

void run_templated(__nv_bfloat16* x, __nv_bfloat16* y, const __nv_bfloat16* z, int n, int, int threads) {
    dim3 block(threads), grid((n * 1 + threads - 1) / threads, 1, 1);
    templated<__nv_bfloat16><<<grid, block>>>(x, y, z, n, 1);
}

__global__ void bytes(unsigned char* x, unsigned char* y, const unsigned char* z, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (n > i) { y[i] = (unsigned char)(255 - x[i] + z[i]); }
}

static int ceil_div(int a, int b) { return (a + b - 1) / b; }

void run_bytes(unsigned char* x, unsigned char* y, const unsigned char* z, int n, int, int threads) {
    bytes<<<ceil_div(n, threads), threads>>>(x, y, z, n);
}

__global__ void in_place(int* x, const int* z, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) { return; }
    x[i] += z[i] * 3 + z[i] * i;
}

void run_in_place(int* x, int*, const int* z, int n, int, int threads) {
    in_place<<<(n + threads - 1) / threads, threads>>>(x, z, n);
}

__global__ void mixed(float* x, float* y, const unsigned char* z, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * (z[i] ? 2.0f : 0.5f);
}

void run_mixed(float* x, float* y, const unsigned char* z, int n, int, int threads) {
    mixed<<<n / threads + 1, threads>>>(x, y, z, n);
}
"""

MAIN = r"""
#define CHECK(call) if ((call) != cudaSuccess) { std::fprintf(stderr, "%s\n", #call); std::exit(1); }

constexpr int kRoom = 70000, kSlack = 64;

struct Arrays {
    std::vector<unsigned char> host;
    unsigned char* device;
};

static inline Arrays made(unsigned seed, bool floats, int size) {
    Arrays a{std::vector<unsigned char>((kRoom + kSlack) * 4), nullptr};
    for (size_t i = 0; i + 4 <= a.host.size(); i += 4) {
        seed = seed * 1664525u + 1013904223u;
        float f = float(int(seed >> 8)) / (1 << 22) - 2.0f;
        if (floats && size == 4) std::memcpy(&a.host[i], &f, 4);
        else if (floats) {
            unsigned short h[2] = {__half_as_ushort(__float2half(f)), __half_as_ushort(__float2half(-f))};
            std::memcpy(&a.host[i], h, 4);
        } else std::memcpy(&a.host[i], &seed, 4);
    }
    CHECK(cudaMalloc(&a.device, a.host.size()));
    return a;
}

static long compared = 0;

template <class X, class Z, class Run>
static void compare(const char* name, Run one, Run other, Arrays* x, Arrays* y, Arrays* z) {
    const int sizes[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 100, 127, 128, 129, 1000, 1023, 1024, 1027, 4099, 65537};
    const int grids[][2] = {{1, 1}, {1, 37}, {3, 32}, {2, 128}, {65, 256}, {600, 128}};
    const int offsets[][3] = {{0, 0, 0}, {1, 1, 1}, {3, 3, 3}, {1, 0, 2}, {0, 5, 0}, {7, 15, 11}};
    std::vector<unsigned char> first(x->host.size()), second(x->host.size());
    for (int n : sizes) for (auto& grid : grids) for (auto& offset : offsets) {
        std::vector<std::vector<unsigned char>> results;
        for (Run run : {one, other}) {
            for (Arrays* a : {x, y, z}) CHECK(cudaMemcpy(a->device, a->host.data(), a->host.size(), cudaMemcpyHostToDevice));
            run((X*)x->device + offset[0], (X*)y->device + offset[1], (const Z*)z->device + offset[2], n, grid[0], grid[1]);
            CHECK(cudaGetLastError());
            CHECK(cudaMemcpy(first.data(), x->device, first.size(), cudaMemcpyDeviceToHost));
            CHECK(cudaMemcpy(second.data(), y->device, second.size(), cudaMemcpyDeviceToHost));
            results.push_back(first);
            results.push_back(second);
        }
        if (results[0] != results[2] || results[1] != results[3]) {
            std::fprintf(stderr, "%s differs: n %d grid %d x %d offsets %d %d %d\n", name, n, grid[0], grid[1], offset[0], offset[1], offset[2]);
            std::exit(1);
        }
        ++compared;
    }
}

int main() {
    Arrays x4 = made(1, true, 4), y4 = made(2, true, 4), z4 = made(3, true, 4);
    Arrays x2 = made(4, true, 2), y2 = made(5, true, 2), z2 = made(6, true, 2);
    Arrays xi = made(7, false, 4), yi = made(8, false, 4), zi = made(9, false, 4);
    compare<float, float>("guarded", before::run_guarded, after::run_guarded, &x4, &y4, &z4);
    compare<float, float>("early_return", before::run_early_return, after::run_early_return, &x4, &y4, &z4);
    compare<float, float>("grid_stride", before::run_grid_stride, after::run_grid_stride, &x4, &y4, &z4);
    compare<__half, float>("halves", before::run_halves, after::run_halves, &x2, &y2, &z4);
    compare<__nv_bfloat16, __nv_bfloat16>("templated", before::run_templated, after::run_templated, &x2, &y2, &z2);
    compare<unsigned char, unsigned char>("bytes", before::run_bytes, after::run_bytes, &xi, &yi, &zi);
    compare<int, int>("in_place", before::run_in_place, after::run_in_place, &xi, &yi, &zi);
    compare<float, unsigned char>("mixed", before::run_mixed, after::run_mixed, &x4, &y4, &zi);
    std::printf("%ld\n", compared);
    return 0;
}
"""

NAMES = re.findall(r"__global__ void (\w+)", KERNELS)


def _program() -> str:
    after = fixed(INCLUDES + KERNELS, ("CUK001",), "cuda").source.text.decode()
    kernels = after[after.index("__device__ inline float swish") :]
    head = after[: after.index("__device__ inline float swish")]
    before = f"namespace before {{\n{KERNELS}\n}}\n"
    return f"{head}\n{before}\nnamespace after {{\n{kernels}\n}}\n{MAIN}"


def test_every_kernel_is_rewritten() -> None:
    assert len(found(INCLUDES + KERNELS, ("CUK001",), "cuda")) == len(NAMES)
    assert _program().count("cudalint::for_each") == len(NAMES)


@pytest.mark.nvcc
def test_both_sides_compile_together(tmp_path: Path) -> None:
    compiled(_program(), tmp_path)


@pytest.mark.gpu
@pytest.mark.nvcc
def test_results_are_bit_for_bit_the_same(tmp_path: Path) -> None:
    compared = output(compiled(_program(), tmp_path, "program", "-arch=native"))
    assert int(compared) == len(NAMES) * 23 * 6 * 6
