"""CUDA sources in strings: compiled when imported, then used by a little benchmark."""

import cupy
import torch
from torch.utils.cpp_extension import load_inline

cuda_source = r"""
#include <torch/extension.h>
#include <c10/cuda/CUDAException.h>

__global__ void square_kernel(const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        y[i] = x[i] * x[i];  // expect: CUK001
    }
}

__global__ void row_softmax(const float* x, float* y, int rows, int cols) {
    int r = blockIdx.x * blockDim.x + threadIdx.x;
    if (r >= rows) return;
    float total = 0.0f;
    for (int c = 0; c < cols; ++c) total += expf(x[r * cols + c]);  // expect: CUK002
    for (int c = 0; c < cols; ++c) y[r * cols + c] = expf(x[r * cols + c]) / total;
}

torch::Tensor square(torch::Tensor x) {
    auto y = torch::empty_like(x);
    int n = x.numel();
    square_kernel<<<(n + 255) / 256, 256>>>(x.data_ptr<float>(), y.data_ptr<float>(), n);  // expect: CUK007
    return y;
}

torch::Tensor softmax_rows(torch::Tensor x) {
    auto y = torch::empty_like(x);
    int rows = x.size(0), cols = x.size(1);
    row_softmax<<<(rows + 127) / 128, 128>>>(x.data_ptr<float>(), y.data_ptr<float>(), rows, cols);  // silent: CUK007 checked below
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
}
"""

cpp_source = "torch::Tensor square(torch::Tensor x); torch::Tensor softmax_rows(torch::Tensor x);"
module = load_inline(
    name="inline_extension",
    cpp_sources=[cpp_source],
    cuda_sources=[cuda_source],
    functions=["square", "softmax_rows"],
    extra_cuda_cflags=["-O2"],
)

add_one = cupy.RawKernel(
    r"""
extern "C" __global__ void add_one(const float* x, float* y, int n) {
    int i = blockDim.x * blockIdx.x + threadIdx.x;
    if (i < n) y[i] = x[i] + 1.0f;  // expect: CUK001
}
""",
    "add_one",
)


def main():
    x = torch.randn(1 << 20, device="cuda")
    assert torch.equal(module.square(x), x * x)
    rows = torch.randn(128, 1000, device="cuda")
    torch.testing.assert_close(module.softmax_rows(rows), rows.softmax(-1))
    y = cupy.empty(1 << 20, dtype=cupy.float32)
    add_one((4096,), (256,), (cupy.asarray(x), y, 1 << 20))


if __name__ == "__main__":
    main()
