// Decode attention for one token: scores, softmax, weighted sum; and some gates of a state-space layer.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "common/launch.h"

namespace decode {

using bf16 = __nv_bfloat16;
using Vec8 = uint4;

union Pack {
    Vec8 raw;
    bf16 items[8];
};

__device__ __forceinline__ Pack ld_pack(const bf16* p) {
    Pack pack;
    pack.raw = *reinterpret_cast<const Vec8*>(p);
    return pack;
}

__device__ float subtract_row_max(const float* s, float v, int n);  // in rows.cu

__global__ void weighted_sum(const bf16* __restrict__ v, const float* __restrict__ p, bf16* __restrict__ out, int T, int D) {
    const int d = threadIdx.x * 8;
    if (d >= D) return;
    float acc[8] = {};
    for (int t = 0; t < T; ++t) {
        const Pack pack = ld_pack(v + (int64_t)t * D + d);  // silent: CUK001 a pack behind a helper
#pragma unroll
        for (int k = 0; k < 8; ++k) acc[k] += p[t] * __bfloat162float(pack.items[k]);
    }
    Pack result;
#pragma unroll
    for (int k = 0; k < 8; ++k) result.items[k] = __float2bfloat16(acc[k]);
    *reinterpret_cast<Vec8*>(out + d) = result.raw;
}

__global__ void attention_weights(const float* __restrict__ scores, float* __restrict__ p, int T, float scale) {
    extern __shared__ float s[];
    float sum = 0.f;
    for (int t = threadIdx.x; t < T; t += blockDim.x) {
        const float logit = scores[blockIdx.x * T + t] * scale;  // expect: CUK001
        s[t] = __expf(logit);  // expect: CUK002
        sum += s[t];
    }
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    for (int t = threadIdx.x; t < T; t += blockDim.x) p[blockIdx.x * T + t] = s[t] / sum;
}

__global__ void attention_weights_stable(const float* scores, float* p, int T) {
    const float* row = scores + blockIdx.x * T;
    float sum = 0.f;
    for (int t = threadIdx.x; t < T; t += 32) sum += __expf(subtract_row_max(row, row[t], T));  // silent: CUK002 an unknown helper  // expect: CUK001
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    for (int t = threadIdx.x; t < T; t += 32) p[blockIdx.x * T + t] = __expf(subtract_row_max(row, row[t], T)) / sum;
}

struct float8 {
    float4 lo, hi;
};

__global__ void softmax_fields(float4* x, int rows) {
    const int r = blockIdx.x * blockDim.x + threadIdx.x;
    if (r >= rows) return;
    float4 v = x[r];
    const float m = fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w));
    v.x = expf(v.x - m);  // silent: CUK002 the maximum of the fields
    v.y = expf(v.y - m);
    v.z = expf(v.z - m);
    v.w = expf(v.w - m);
    const float total = v.x + v.y + v.z + v.w;
    x[r] = make_float4(v.x / total, v.y / total, v.z / total, v.w / total);
}

__global__ void selective_scan_step(float* state, const float* a_log, const float* dt, const float* bx, float* y, const float* z, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const float decay = expf(-dt[i] * expf(a_log[i]));  // expect: CUK001  // silent: CUK002 a decay
        state[i] = state[i] * decay + bx[i];
        y[i] = state[i] * z[i] / (1.f + __expf(-z[i]));
    }
}

__global__ void histogram(const uint8_t* data, unsigned* bins, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(&bins[data[i]], 1u);  // either: CUK001 bytes are loaded one by one, the atomics decide
}

__global__ void permute_rows(const float4* __restrict__ in, float4* __restrict__ out, const int* __restrict__ order, int width) {
    const int64_t from = (int64_t)order[blockIdx.x] * width, to = (int64_t)blockIdx.x * width;
    for (int j = threadIdx.x; j < width; j += blockDim.x) out[to + j] = in[from + j];  // silent: CUK001 float4
}

void run_step(const float* scores, const bf16* v, float* p, bf16* out, int heads, int T, int D, float scale, cudaStream_t stream) {
    attention_weights<<<heads, 32, T * sizeof(float), stream>>>(scores, p, T, scale);  // expect: CUK007
    weighted_sum<<<1, D / 8, 0, stream>>>(v, p, out, T, D);  // expect: CUK007
}

void run_scan(float* state, const float* a_log, const float* dt, const float* bx, float* y, const float* z, int n, cudaStream_t stream) {
    selective_scan_step<<<(n + 127) / 128, 128, 0, stream>>>(state, a_log, dt, bx, y, z, n);  // silent: CUK007 the loop checks every launch
    for (cudaError_t e = cudaGetLastError(); e != cudaSuccess; e = cudaGetLastError()) {
        report(e, "run_scan");
    }
}

}  // namespace decode
