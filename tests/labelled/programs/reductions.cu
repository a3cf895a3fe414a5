// Sums and dot products: the ladder from shared memory to warp shuffles.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

#define CHECK_CUDA(call)                                                                        \
    do {                                                                                        \
        cudaError_t e = (call);                                                                 \
        if (e != cudaSuccess) {                                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(e));          \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

#define KERNEL_CHECK() CHECK_CUDA(cudaGetLastError())

static void check_last(const char* what) {
    cudaError_t e = cudaPeekAtLastError();
    if (e != cudaSuccess) {
        fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(e));
        exit(1);
    }
}

__global__ void reduce_shared(const float* g_idata, float* g_odata, unsigned int n) {
    extern __shared__ float sdata[];
    unsigned int tid = threadIdx.x;
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    sdata[tid] = (i < n) ? g_idata[i] : 0.0f;  // expect: CUK001
    __syncthreads();
    for (unsigned int s = blockDim.x / 2; s > 0; s >>= 1) {
        if (tid < s) sdata[tid] += sdata[tid + s];
        __syncthreads();
    }
    if (tid == 0) g_odata[blockIdx.x] = sdata[0];
}

__device__ __forceinline__ float warp_sum(float v) {
    for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_down_sync(0xffffffff, v, offset);
    return v;
}

__global__ void dot(const float* __restrict__ a, const float* __restrict__ b, float* out, int n) {
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        sum += a[i] * b[i];  // expect: CUK001
    }
    sum = warp_sum(sum);
    if ((threadIdx.x & 31) == 0) atomicAdd(out, sum);
}

__global__ void dot_vec(const float4* __restrict__ a, const float4* __restrict__ b, float* out, int n4) {
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n4; i += gridDim.x * blockDim.x) {
        const float4 u = a[i], v = b[i];  // silent: CUK001 float4 parameters
        sum += u.x * v.x + u.y * v.y + u.z * v.z + u.w * v.w;
    }
    sum = warp_sum(sum);
    if ((threadIdx.x & 31) == 0) atomicAdd(out, sum);
}

__global__ void final_sum(float* partial, int blocks) {
    float sum = 0.0f;
    if (threadIdx.x == 0) {
        for (int b = 0; b < blocks; ++b) sum += partial[b];  // silent: CUK001 one thread alone
        partial[0] = sum;
    }
}

__global__ void column_sums(const float* m, float* out, int rows, int cols) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= cols) return;
    float s = 0.0f;
    for (int r = 0; r < rows; ++r) s += m[r * cols + c];  // either: CUK001 columns: four of them a thread are possible
    out[c] = s;
}

float sum_of(const float* d_in, int n) {
    const int threads = 256, blocks = (n + threads - 1) / threads;
    float *partial, result;
    CHECK_CUDA(cudaMalloc(&partial, blocks * sizeof(float)));
    reduce_shared<<<blocks, threads, threads * sizeof(float)>>>(d_in, partial, n);  // silent: CUK007 the file's macro follows
    KERNEL_CHECK();
    final_sum<<<1, 32>>>(partial, blocks);  // silent: CUK007 the file's helper follows
    check_last("final_sum");
    CHECK_CUDA(cudaMemcpy(&result, partial, sizeof(float), cudaMemcpyDeviceToHost));
    CHECK_CUDA(cudaFree(partial));
    return result;
}

static void launch_dot(const float* a, const float* b, float* out, int n, bool vector) {
    if (vector)
        dot_vec<<<512, 256>>>((const float4*)a, (const float4*)b, out, n / 4);  // silent: CUK007 both callers check
    else
        dot<<<512, 256>>>(a, b, out, n);
}

float dot_of(const float* a, const float* b, int n) {
    float* out;
    float result;
    CHECK_CUDA(cudaMalloc(&out, sizeof(float)));
    CHECK_CUDA(cudaMemset(out, 0, sizeof(float)));
    launch_dot(a, b, out, n, n % 4 == 0);
    CHECK_CUDA(cudaGetLastError());
    CHECK_CUDA(cudaMemcpy(&result, out, sizeof(float), cudaMemcpyDeviceToHost));
    CHECK_CUDA(cudaFree(out));
    return result;
}

void sum_columns(const float* m, float* out, int rows, int cols) {
    column_sums<<<(cols + 127) / 128, 128>>>(m, out, rows, cols);  // expect: CUK007
}
