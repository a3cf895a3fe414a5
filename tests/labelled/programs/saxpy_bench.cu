// Bandwidth of saxpy in five spellings, by CUDA events.
#include <cuda_runtime.h>

#include <cstdio>
#include <vector>

__global__ void saxpy(int n, float a, const float* __restrict__ x, float* __restrict__ y) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x)
        y[i] = a * x[i] + y[i];  // expect: CUK001
}

__global__ void saxpy_early(int n, float a, const float* x, float* y) {
    const int idx = threadIdx.x + blockIdx.x * blockDim.x;
    if (idx >= n) return;
    float xv = __ldg(x + idx);  // expect: CUK001
    float yv = *(y + idx);
    yv = fmaf(a, xv, yv);
    *(y + idx) = yv;
}

__global__ void saxpy_vec4(int n, float a, const float* x, float* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const float4* x4 = reinterpret_cast<const float4*>(x);
    float4* y4 = reinterpret_cast<float4*>(y);
    if (i < n / 4) {
        float4 u = x4[i];  // silent: CUK001 float4
        float4 v = y4[i];
        v.x += a * u.x;
        v.y += a * u.y;
        v.z += a * u.z;
        v.w += a * u.w;
        y4[i] = v;
    }
    const int tail = n / 4 * 4 + i;
    if (tail < n) y[tail] += a * x[tail];  // silent: CUK001 the scalar tail
}

__global__ void saxpy_strided(int n, int stride, float a, const float* x, float* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i * stride] += a * x[i * stride];  // silent: CUK001 not contiguous
}

__global__ void saxpy_gather(int n, const int* __restrict__ index, float a, const float* x, float* y) {
    const int w = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (w < n) y[index[w]] += a * x[index[w]];  // silent: CUK001 one address a warp, gathered
}

template <typename Launch>
float time_ms(Launch launch, int repeat) {
    cudaEvent_t begin, end;
    cudaEventCreate(&begin);
    cudaEventCreate(&end);
    launch();
    cudaEventRecord(begin);
    for (int i = 0; i < repeat; ++i) launch();
    cudaEventRecord(end);
    cudaEventSynchronize(end);
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    return ms / repeat;
}

int main() {
    const int n = 1 << 26;
    float *x, *y;
    int* index;
    cudaMalloc(&x, n * sizeof(float));
    cudaMalloc(&y, n * sizeof(float));
    cudaMalloc(&index, n * sizeof(int));
    cudaMemset(index, 0, n * sizeof(int));
    const int block = 256, grid = (n + block - 1) / block;
    const float full = time_ms([&] { saxpy<<<1024, block>>>(n, 2.0f, x, y); }, 20);  // silent: CUK007 checked at the end of main
    const float early = time_ms([&] { saxpy_early<<<grid, block>>>(n, 2.0f, x, y); }, 20);
    const float vec = time_ms([&] { saxpy_vec4<<<grid / 4, block>>>(n, 2.0f, x, y); }, 20);
    const float strided = time_ms([&] { saxpy_strided<<<grid / 32, block>>>(n / 32, 32, 2.0f, x, y); }, 20);
    const float gather = time_ms([&] { saxpy_gather<<<grid, block>>>(n / 32, index, 2.0f, x, y); }, 20);
    cudaError_t status = cudaGetLastError();
    if (status != cudaSuccess) {
        std::fprintf(stderr, "%s\n", cudaGetErrorString(status));
        return 1;
    }
    for (float ms : {full, early, vec, strided, gather}) std::printf("%.3f ms  %.1f GB/s\n", ms, 12.0 * n / ms * 1e-6);
    cudaFree(x);
    cudaFree(y);
    cudaFree(index);
    return 0;
}
