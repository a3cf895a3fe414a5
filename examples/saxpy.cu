// y = a * x + y, then a softmax of every row of y.
//
// $ nvcc -O3 -o saxpy saxpy.cu && ./saxpy
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#define CUDA_CHECK(call)                                                       \
    do {                                                                       \
        cudaError_t error = (call);                                            \
        if (error != cudaSuccess) {                                            \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,            \
                         cudaGetErrorString(error));                           \
            std::exit(1);                                                      \
        }                                                                      \
    } while (0)

__global__ void saxpy(int n, float a, const float* __restrict__ x, float* __restrict__ y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        y[i] = a * x[i] + y[i];
    }
}

__global__ void softmax_rows(const float* __restrict__ in, float* __restrict__ out, int rows, int cols) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    float sum = 0.0f;
    for (int c = 0; c < cols; ++c) {
        sum += expf(in[row * cols + c]);
    }
    for (int c = 0; c < cols; ++c) {
        out[row * cols + c] = expf(in[row * cols + c]) / sum;
    }
}

int main() {
    const int rows = 1024, cols = 1000, n = rows * cols;
    std::vector<float> x(n, 1.0f), y(n, 2.0f);
    float *d_x, *d_y, *d_p;
    CUDA_CHECK(cudaMalloc(&d_x, n * sizeof(float)));
    CUDA_CHECK(cudaMalloc(&d_y, n * sizeof(float)));
    CUDA_CHECK(cudaMalloc(&d_p, n * sizeof(float)));
    CUDA_CHECK(cudaMemcpy(d_x, x.data(), n * sizeof(float), cudaMemcpyHostToDevice));
    CUDA_CHECK(cudaMemcpy(d_y, y.data(), n * sizeof(float), cudaMemcpyHostToDevice));

    saxpy<<<(n + 255) / 256, 256>>>(n, 3.0f, d_x, d_y);
    softmax_rows<<<(rows + 127) / 128, 128>>>(d_y, d_p, rows, cols);

    cudaMemcpy(y.data(), d_p, n * sizeof(float), cudaMemcpyDeviceToHost);
    std::printf("p[0] = %g, expected %g\n", y[0], 1.0f / cols);
    cudaFree(d_x);
    cudaFree(d_y);
    cudaFree(d_p);
    return 0;
}
