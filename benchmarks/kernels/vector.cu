// What a kernel gains from cudalint/vector.cuh: y = a·x + y and a copy, one element a thread, against
// vectors with the launch left as it was, and with the grid divided by the vector's width.
// Prints microseconds and TB/s, the median of 21 launches on 256 MB arrays.
//
//   nvcc -std=c++17 -O2 -arch=native -I cudalint/kernels/include benchmarks/kernels/vector.cu
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <cudalint/vector.cuh>

#define CHECK(call)                                                     \
    do {                                                                \
        const cudaError_t status = (call);                              \
        if (status != cudaSuccess) {                                    \
            std::printf("%s: %s\n", #call, cudaGetErrorString(status)); \
            std::exit(1);                                               \
        }                                                               \
    } while (0)

// The scalar kernels are what the vector ones are compared with; `time` checks every launch.
// cudalint: file-ignore[CUK001, CUK007]
__global__ void axpy_scalar(float a, const float* x, float* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}
__global__ void axpy_vector(float a, const float* x, float* y, int n) {
    cudalint::for_each(n, [=](float x_i, float& y_i) { y_i = a * x_i + y_i; }, cudalint::in(x),
                       cudalint::inout(y));
}
__global__ void copy_scalar(const __nv_bfloat16* x, __nv_bfloat16* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i];
}
__global__ void copy_vector(const __nv_bfloat16* x, __nv_bfloat16* y, int n) {
    cudalint::for_each(n, [](__nv_bfloat16 x_i, __nv_bfloat16& y_i) { y_i = x_i; },
                       cudalint::in(x), cudalint::out(y));
}

template <class Launch>
void time(const char* name, double bytes, Launch launch) {
    cudaEvent_t start, stop;
    CHECK(cudaEventCreate(&start));
    CHECK(cudaEventCreate(&stop));
    std::vector<float> times;
    for (int k = 0; k < 24; ++k) {
        CHECK(cudaEventRecord(start));
        launch();
        CHECK(cudaGetLastError());
        CHECK(cudaEventRecord(stop));
        CHECK(cudaEventSynchronize(stop));
        float milliseconds = 0;
        CHECK(cudaEventElapsedTime(&milliseconds, start, stop));
        if (k >= 3) times.push_back(milliseconds);
    }
    std::sort(times.begin(), times.end());
    const double seconds = times[times.size() / 2] / 1e3;
    std::printf("%-44s %8.1f us %6.2f TB/s\n", name, seconds * 1e6, bytes / seconds / 1e12);
}

int main() {
    constexpr size_t bytes = size_t(256) << 20;
    void *x = nullptr, *y = nullptr;
    CHECK(cudaMalloc(&x, bytes + 256));
    CHECK(cudaMalloc(&y, bytes + 256));
    CHECK(cudaMemset(x, 0x3c, bytes));
    CHECK(cudaMemset(y, 0x3d, bytes));
    for (int shift : {0, 1}) {
        const int n = int(bytes / 4), m = int(bytes / 2);
        const float* a = static_cast<float*>(x) + shift;
        float* b = static_cast<float*>(y) + shift;
        const auto* c = static_cast<__nv_bfloat16*>(x) + shift;
        auto* d = static_cast<__nv_bfloat16*>(y) + shift;
        std::printf("%s\n", shift ? "one element off the boundary" : "aligned");
        time("axpy float, one element a thread", 3.0 * bytes, [=] { axpy_scalar<<<n / 256, 256>>>(2.0f, a, b, n); });
        time("axpy float, vectors, same grid", 3.0 * bytes, [=] { axpy_vector<<<n / 256, 256>>>(2.0f, a, b, n); });
        time("axpy float, vectors, grid / 4", 3.0 * bytes, [=] { axpy_vector<<<cudalint::vector_grid<float>(n / 256), 256>>>(2.0f, a, b, n); });
        time("copy bf16, one element a thread", 2.0 * bytes, [=] { copy_scalar<<<m / 256, 256>>>(c, d, m); });
        time("copy bf16, vectors, same grid", 2.0 * bytes, [=] { copy_vector<<<m / 256, 256>>>(c, d, m); });
        time("copy bf16, vectors, grid / 8", 2.0 * bytes, [=] { copy_vector<<<cudalint::vector_grid<__nv_bfloat16>(m / 256), 256>>>(c, d, m); });
    }
    CHECK(cudaFree(x));
    CHECK(cudaFree(y));
    return 0;
}
