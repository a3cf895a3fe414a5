// Element-wise activations for a small inference engine, fp32 and fp16.
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include <stdexcept>
#include <string>

#define FLOAT4(value) (reinterpret_cast<float4*>(&(value))[0])
#define CFLOAT4(value) (reinterpret_cast<const float4*>(&(value))[0])
#define HALF2(value) (reinterpret_cast<half2*>(&(value))[0])
#define GELU_SCALE 0.7978845608028654f

inline void throw_on_error(cudaError_t e) {
    if (e != cudaSuccess) throw std::runtime_error(cudaGetErrorString(e));
}

__device__ __forceinline__ float gelu_tanh(float x) {
    return 0.5f * x * (1.0f + tanhf(GELU_SCALE * (x + 0.044715f * x * x * x)));
}

__global__ void gelu_forward(float* out, const float* inp, int N) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < N) {
        float xi = inp[i];  // expect: CUK001
        out[i] = gelu_tanh(xi);
    }
}

__global__ void gelu_forward_x4(float* out, const float* inp, int N) {
    int i = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (i + 3 < N) {
        float4 x = CFLOAT4(inp[i]);  // silent: CUK001 float4 behind a macro
        x.x = gelu_tanh(x.x);
        x.y = gelu_tanh(x.y);
        x.z = gelu_tanh(x.z);
        x.w = gelu_tanh(x.w);
        FLOAT4(out[i]) = x;
    } else {
        for (; i < N; ++i) out[i] = gelu_tanh(inp[i]);  // silent: CUK001 the scalar tail
    }
}

__global__ void relu_f16(half* x, half* y, int N) {
    int idx = blockIdx.x * blockDim.x + threadIdx.x;
    if (idx < N) y[idx] = __hmax(__float2half(0.0f), x[idx]);  // expect: CUK001
}

__global__ void relu_f16x2(half* x, half* y, int N) {
    int idx = 2 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (idx < N) {
        half2 reg = HALF2(x[idx]);  // silent: CUK001 half2
        reg.x = __hmax(__float2half(0.0f), reg.x);
        reg.y = __hmax(__float2half(0.0f), reg.y);
        HALF2(y[idx]) = reg;
    }
}

__global__ void sigmoid_kernel(const float* __restrict__ x, float* __restrict__ y, int64_t n) {
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] = 1.0f / (1.0f + __expf(-x[i]));  // expect: CUK001  // silent: CUK002 a sigmoid
}

__global__ void swiglu_packed(const float* __restrict__ gate_up, float* __restrict__ out, int width) {
    const float* row = gate_up + (size_t)blockIdx.x * 2 * width;
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        float g = row[j];  // expect: CUK001
        float silu = g / (1.0f + expf(-g));  // silent: CUK002 a gate
        out[(size_t)blockIdx.x * width + j] = silu * row[width + j];
    }
}

// Scores are decayed by their age; the sum is that of the ages, not of the exponentials.
__global__ void age_decay(float* w, const float* age, const float* total_age, float rate, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        float e = expf(-rate * age[i]);  // expect: CUK001  // silent: CUK002 the sum is over other values
        w[i] = e / total_age[0];
    }
}

void gelu(float* out, const float* inp, int n, cudaStream_t stream) {
    const int block = 256;
    if (n % 4 == 0) {
        gelu_forward_x4<<<(n / 4 + block - 1) / block, block, 0, stream>>>(out, inp, n);  // silent: CUK007 thrown below
    } else {
        gelu_forward<<<(n + block - 1) / block, block, 0, stream>>>(out, inp, n);
    }
    throw_on_error(cudaGetLastError());
}

void relu(half* x, half* y, int n, cudaStream_t stream) {
    const int block = 256;
    if (n % 2 == 0) {
        relu_f16x2<<<(n / 2 + block - 1) / block, block, 0, stream>>>(x, y, n);  // expect: CUK007
        return;
    }
    relu_f16<<<(n + block - 1) / block, block, 0, stream>>>(x, y, n);  // expect: CUK007
}

cudaError_t sigmoid(const float* x, float* y, int64_t n, cudaStream_t stream) {
    sigmoid_kernel<<<(n + 255) / 256, 256, 0, stream>>>(x, y, n);  // silent: CUK007 the error is returned
    return cudaGetLastError();
}

void swiglu(const float* gate_up, float* out, int rows, int width, cudaStream_t stream) {
    swiglu_packed<<<rows, 256, 0, stream>>>(gate_up, out, width);  // expect: CUK007
}
