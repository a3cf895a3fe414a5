// A recurrent cell for PyTorch, after the C++ extension tutorial.
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/extension.h>

#include <vector>

#define CHECK_INPUT(x) TORCH_CHECK(x.is_cuda() && x.is_contiguous(), #x " must be a contiguous CUDA tensor")

namespace {

template <typename scalar_t>
__device__ __forceinline__ scalar_t sigmoid(scalar_t z) {
    return 1.0 / (1.0 + exp(-z));  // silent: CUK002 a sigmoid
}

template <typename scalar_t>
__device__ __forceinline__ scalar_t elu(scalar_t z, scalar_t alpha = 1.0) {
    return fmaxf(0.0, z) + fminf(0.0, alpha * (exp(z) - 1.0));
}

template <typename scalar_t>
__global__ void lltm_forward_kernel(const scalar_t* __restrict__ gates, const scalar_t* __restrict__ old_cell,
                                    scalar_t* __restrict__ new_h, scalar_t* __restrict__ new_cell, size_t state_size) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    const int index = blockIdx.y * state_size + column;
    const int gates_row = blockIdx.y * (state_size * 3);
    if (column < state_size) {
        const scalar_t input_gate = sigmoid(gates[gates_row + column]);  // expect: CUK001
        const scalar_t output_gate = sigmoid(gates[gates_row + state_size + column]);
        const scalar_t candidate = elu(gates[gates_row + 2 * state_size + column]);
        new_cell[index] = old_cell[index] + candidate * input_gate;
        new_h[index] = tanh(new_cell[index]) * output_gate;
    }
}

template <typename scalar_t>
__global__ void accessor_kernel(const torch::PackedTensorAccessor32<scalar_t, 3, torch::RestrictPtrTraits> gates,
                                torch::PackedTensorAccessor32<scalar_t, 2, torch::RestrictPtrTraits> out) {
    const int n = blockIdx.y;
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < gates.size(2)) out[n][c] = gates[n][0][c];  // silent: CUK001 accessors with strides of their own
}

template <typename scalar_t>
__global__ void scale_kernel(scalar_t* x, scalar_t factor, int64_t n) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        x[i] *= factor;  // expect: CUK001
    }
}

}  // namespace

std::vector<torch::Tensor> lltm_cuda_forward(torch::Tensor gates, torch::Tensor old_cell) {
    CHECK_INPUT(gates);
    CHECK_INPUT(old_cell);
    const at::cuda::OptionalCUDAGuard guard(device_of(gates));
    auto new_h = torch::empty_like(old_cell);
    auto new_cell = torch::empty_like(old_cell);
    const int batch_size = old_cell.size(0), state_size = old_cell.size(1), threads = 1024;
    const dim3 blocks((state_size + threads - 1) / threads, batch_size);
    cudaStream_t stream = at::cuda::getCurrentCUDAStream();
    AT_DISPATCH_FLOATING_TYPES(gates.scalar_type(), "lltm_forward_cuda", ([&] {
        lltm_forward_kernel<scalar_t><<<blocks, threads, 0, stream>>>(  // silent: CUK007 checked after the dispatch
            gates.data_ptr<scalar_t>(), old_cell.data_ptr<scalar_t>(), new_h.data_ptr<scalar_t>(), new_cell.data_ptr<scalar_t>(), state_size);
    }));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {new_h, new_cell};
}

torch::Tensor first_gate(torch::Tensor gates) {
    CHECK_INPUT(gates);
    auto out = torch::empty({gates.size(0), gates.size(2)}, gates.options());
    const dim3 blocks((gates.size(2) + 255) / 256, gates.size(0));
    AT_DISPATCH_FLOATING_TYPES_AND_HALF(gates.scalar_type(), "first_gate", [&] {
        accessor_kernel<scalar_t><<<blocks, 256, 0, at::cuda::getCurrentCUDAStream()>>>(  // expect: CUK007
            gates.packed_accessor32<scalar_t, 3, torch::RestrictPtrTraits>(), out.packed_accessor32<scalar_t, 2, torch::RestrictPtrTraits>());
    });
    return out;
}

void scale_(torch::Tensor x, double factor) {
    CHECK_INPUT(x);
    AT_DISPATCH_ALL_TYPES(x.scalar_type(), "scale_", [&] {
        scale_kernel<scalar_t><<<1024, 256, 0, at::cuda::getCurrentCUDAStream()>>>(  // silent: CUK007 checked in the lambda
            x.data_ptr<scalar_t>(), static_cast<scalar_t>(factor), x.numel());
        AT_CUDA_CHECK(cudaGetLastError());
    });
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
    m.def("forward", &lltm_cuda_forward);
    m.def("first_gate", &first_gate);
    m.def("scale_", &scale_);
}
