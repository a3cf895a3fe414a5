// Layer norm and RMS norm, forward: a thread a row, a block a row, a warp a row.
#include <assert.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>

void cuda_check(cudaError_t error, const char* file, int line) {
    if (error != cudaSuccess) {
        printf("[CUDA ERROR] at file %s:%d:\n%s\n", file, line, cudaGetErrorString(error));
        exit(EXIT_FAILURE);
    }
}
#define cudaCheck(err) (cuda_check(err, __FILE__, __LINE__))

__global__ void layernorm_forward_kernel1(float* out, const float* inp, const float* weight, const float* bias, int N, int C) {
    int idx = blockIdx.x * blockDim.x + threadIdx.x;
    if (idx >= N) return;
    const float* x = inp + idx * C;
    float m = 0.0f;
    for (int i = 0; i < C; i++) m += x[i];  // silent: CUK001 a row a thread
    m = m / C;
    float v = 0.0f;
    for (int i = 0; i < C; i++) v += (x[i] - m) * (x[i] - m);
    float s = rsqrtf(v / C + 1e-5f);
    for (int i = 0; i < C; i++) out[idx * C + i] = s * (x[i] - m) * weight[i] + bias[i];
}

__inline__ __device__ float block_sum(float val) {
    static __shared__ float shared[32];
    int lane = threadIdx.x & 31, wid = threadIdx.x >> 5;
    for (int o = 16; o > 0; o >>= 1) val += __shfl_xor_sync(0xffffffff, val, o);
    if (lane == 0) shared[wid] = val;
    __syncthreads();
    val = threadIdx.x < (blockDim.x >> 5) ? shared[lane] : 0.0f;
    for (int o = 16; o > 0; o >>= 1) val += __shfl_xor_sync(0xffffffff, val, o);
    __syncthreads();
    return __shfl_sync(0xffffffff, val, 0);
}

__global__ void layernorm_forward_kernel2(float* __restrict__ out, const float* __restrict__ inp, const float* __restrict__ weight,
                                          const float* __restrict__ bias, int C) {
    const float* x = inp + (size_t)blockIdx.x * C;
    float* o = out + (size_t)blockIdx.x * C;
    float sum = 0.0f, sq = 0.0f;
    for (int i = threadIdx.x; i < C; i += blockDim.x) {
        float xi = x[i];  // expect: CUK001
        sum += xi;
        sq += xi * xi;
    }
    sum = block_sum(sum);
    sq = block_sum(sq);
    float mean = sum / C;
    float rstd = rsqrtf(sq / C - mean * mean + 1e-5f);
    for (int c = threadIdx.x; c < C; c += blockDim.x) o[c] = (x[c] - mean) * rstd * weight[c] + bias[c];
}

typedef struct __align__(16) {
    __half2 a, b, c, d;
} half8;

__global__ void rmsnorm_half8(half8* out, const half8* inp, const half8* weight, int C8) {
    const half8* x = inp + (size_t)blockIdx.x * C8;
    float sq = 0.0f;
    for (int i = threadIdx.x; i < C8; i += blockDim.x) {
        half8 p = x[i];  // silent: CUK001 sixteen bytes behind an alias
        float2 f = __half22float2(p.a);
        sq += f.x * f.x + f.y * f.y;
        f = __half22float2(p.b);
        sq += f.x * f.x + f.y * f.y;
        f = __half22float2(p.c);
        sq += f.x * f.x + f.y * f.y;
        f = __half22float2(p.d);
        sq += f.x * f.x + f.y * f.y;
    }
    const __half2 r = __float2half2_rn(rsqrtf(block_sum(sq) / (8 * C8) + 1e-6f));
    for (int i = threadIdx.x; i < C8; i += blockDim.x) {
        half8 p = x[i], w = weight[i];
        p.a = __hmul2(__hmul2(p.a, r), w.a);
        p.b = __hmul2(__hmul2(p.b, r), w.b);
        p.c = __hmul2(__hmul2(p.c, r), w.c);
        p.d = __hmul2(__hmul2(p.d, r), w.d);
        out[(size_t)blockIdx.x * C8 + i] = p;
    }
}

__global__ void rmsnorm_scalar_half(__half* out, const __half* inp, const __half* weight, int C) {
    const __half* x = inp + (size_t)blockIdx.x * C;
    float sq = 0.0f;
    for (int i = threadIdx.x; i < C; i += blockDim.x) {
        float v = __half2float(x[i]);  // expect: CUK001
        sq += v * v;
    }
    float r = rsqrtf(block_sum(sq) / C + 1e-6f);
    for (int i = threadIdx.x; i < C; i += blockDim.x)
        out[(size_t)blockIdx.x * C + i] = __float2half(__half2float(x[i]) * r * __half2float(weight[i]));
}

void layernorm_forward1(float* out, const float* inp, const float* weight, const float* bias, int N, int C, int block_size) {
    layernorm_forward_kernel1<<<(N + block_size - 1) / block_size, block_size>>>(out, inp, weight, bias, N, C);  // silent: CUK007 checked below
    cudaCheck(cudaGetLastError());
}

void layernorm_forward2(float* out, const float* inp, const float* weight, const float* bias, int N, int C) {
    assert(C % 32 == 0);
    layernorm_forward_kernel2<<<N, 256>>>(out, inp, weight, bias, C);  // expect: CUK007
}

void rmsnorm(__half* out, const __half* inp, const __half* weight, int N, int C, cudaStream_t stream) {
    if (C % 8 == 0) {
        rmsnorm_half8<<<N, 128, 0, stream>>>((half8*)out, (const half8*)inp, (const half8*)weight, C / 8);  // silent: CUK007 checked below
    } else {
        rmsnorm_scalar_half<<<N, 128, 0, stream>>>(out, inp, weight, C);  // silent: CUK007 checked below
    }
    cudaCheck(cudaPeekAtLastError());
}
