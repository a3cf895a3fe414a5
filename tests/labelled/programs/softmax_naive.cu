// Softmax over rows, as first written. One thread a row, then one block a row.
#include <cuda_runtime.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

__global__ void softmax_thread_per_row(const float* input, float* output, int M, int N) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < M) {
        float sum = 0.f;
        for (int i = 0; i < N; i++) {
            sum += expf(input[row * N + i]);  // expect: CUK002  // silent: CUK001 consecutive threads walk different rows
        }
        for (int i = 0; i < N; i++) {
            output[row * N + i] = expf(input[row * N + i]) / sum;
        }
    }
}

__global__ void softmax_block_per_row(float* x, int cols) {
    __shared__ float total;
    float* row = x + (long)blockIdx.x * cols;
    if (threadIdx.x == 0) total = 0.0f;
    __syncthreads();
    float partial = 0.0f;
    for (int i = threadIdx.x; i < cols; i += blockDim.x) {
        float e = __expf(row[i]);  // expect: CUK001, CUK002
        row[i] = e;
        partial += e;
    }
    atomicAdd(&total, partial);
    __syncthreads();
    for (int i = threadIdx.x; i < cols; i += blockDim.x) row[i] /= total;
}

// The exponential hides in a helper.
__device__ float weight(float score, float temperature) {
    return exp(score / temperature);
}

__global__ void boltzmann(const float* energy, float* p, int states, float temperature) {
    int system = blockIdx.x * blockDim.y + threadIdx.y;
    float z = 0.0f;
    for (int s = 0; s < states; ++s) z += weight(energy[system * states + s], temperature);  // expect: CUK002
    for (int s = 0; s < states; ++s)
        p[system * states + s] = weight(energy[system * states + s], temperature) / z;
}

__global__ void softmax_stable(const float* input, float* output, int M, int N) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= M) return;
    const float* in = input + row * N;
    float* out = output + row * N;
    float maxval = -INFINITY;
    for (int i = 0; i < N; i++) maxval = in[i] > maxval ? in[i] : maxval;
    float norm = 0.f;
    for (int i = 0; i < N; i++) {
        out[i] = expf(in[i] - maxval);  // silent: CUK002 the maximum is subtracted
        norm += out[i];
    }
    for (int i = 0; i < N; i++) out[i] /= norm;
}

__global__ void softmax_shifted(float* x, int M, int N) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= M) return;
    float top = x[row * N];
    for (int i = 1; i < N; ++i) top = fmaxf(top, x[row * N + i]);
    float sum = 0.0f;
    for (int i = 0; i < N; ++i) {
        float v = x[row * N + i];
        v -= top;
        v = expf(v);  // silent: CUK002 the maximum was subtracted by -=
        x[row * N + i] = v;
        sum += v;
    }
    for (int i = 0; i < N; ++i) x[row * N + i] /= sum;
}

int main() {
    const int M = 1024, N = 4096;
    float *a, *b;
    cudaMallocManaged(&a, M * N * sizeof(float));
    cudaMallocManaged(&b, M * N * sizeof(float));
    for (int i = 0; i < M * N; ++i) a[i] = rand() / (float)RAND_MAX;
    softmax_thread_per_row<<<(M + 255) / 256, 256>>>(a, b, M, N);  // expect: CUK007
    softmax_block_per_row<<<M, 256>>>(a, N);  // expect: CUK007
    boltzmann<<<M / 8, dim3(1, 8)>>>(a, b, N, 0.7f);  // expect: CUK007
    softmax_stable<<<M / 256, 256>>>(a, b, M, N);  // expect: CUK007
    softmax_shifted<<<M / 256, 256>>>(a, M, N);  // expect: CUK007
    cudaDeviceSynchronize();
    printf("%f\n", b[0]);
    cudaFree(a);
    cudaFree(b);
    return 0;
}
