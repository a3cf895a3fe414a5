// Softmax in one pass over memory: the running maximum and sum are merged pair by pair.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda_runtime.h>
#include <float.h>

#include <cstdio>

namespace cg = cooperative_groups;

struct MD {
    float m;
    float d;
};

__device__ __forceinline__ MD merge(MD a, MD b) {
    bool a_bigger = a.m > b.m;
    MD bigger = a_bigger ? a : b;
    MD smaller = a_bigger ? b : a;
    MD res;
    res.m = bigger.m;
    res.d = bigger.d + smaller.d * __expf(smaller.m - bigger.m);  // silent: CUK002 the larger maximum is subtracted
    return res;
}

__global__ void online_softmax(const float* __restrict__ x, float* __restrict__ y, int V) {
    x += (size_t)blockIdx.x * V;
    y += (size_t)blockIdx.x * V;
    MD partial{-FLT_MAX, 0.0f};
    for (int i = threadIdx.x; i < V; i += blockDim.x) {
        MD one{x[i], 1.0f};  // expect: CUK001
        partial = merge(partial, one);
    }
    __shared__ MD shared[32];
    for (int o = 16; o > 0; o >>= 1) {
        MD other{__shfl_xor_sync(~0u, partial.m, o), __shfl_xor_sync(~0u, partial.d, o)};
        partial = merge(partial, other);
    }
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = partial;
    __syncthreads();
    MD total = shared[0];
    for (int w = 1; w < blockDim.x / 32; ++w) total = merge(total, shared[w]);
    float inverse = 1.0f / total.d;
    for (int i = threadIdx.x; i < V; i += blockDim.x) y[i] = __expf(x[i] - total.m) * inverse;  // silent: CUK002 the running maximum
}

__global__ void softmax_cg(float* out, const float* inp, int N, int C) {
    cg::thread_block block = cg::this_thread_block();
    cg::thread_block_tile<32> warp = cg::tiled_partition<32>(block);
    int idx = blockIdx.x * warp.meta_group_size() + warp.meta_group_rank();
    if (idx >= N) return;
    const float* x = inp + idx * C;
    float maxval = -INFINITY, sumval = 0.0f;
    for (int i = warp.thread_rank(); i < C; i += warp.size()) {
        float old = maxval;
        maxval = fmaxf(maxval, x[i]);  // expect: CUK001
        sumval *= expf(old - maxval);
        sumval += expf(x[i] - maxval);  // silent: CUK002 an online softmax
    }
    float global_max = cg::reduce(warp, maxval, cg::greater<float>{});
    sumval *= expf(maxval - global_max);
    float sum = cg::reduce(warp, sumval, cg::plus<float>{});
    for (int i = warp.thread_rank(); i < C; i += warp.size()) out[idx * C + i] = expf(x[i] - global_max) / sum;
}

__global__ void probs_from_lse(float* p, const float* scores, const float* lse, int N, int C) {
    int i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= N) return;
    float total = 0.0f;
    for (int c = 0; c < C; ++c) total += p[i * C + c];
    for (int c = 0; c < C; ++c) p[i * C + c] = expf(scores[i * C + c] - lse[i]) / fmaxf(total, 1.0f);  // silent: CUK002 log-sum-exp, and another sum
}

int main() {
    const int rows = 8192, V = 32000;
    float *x, *y;
    if (cudaMalloc(&x, sizeof(float) * rows * V) != cudaSuccess) return 1;
    if (cudaMalloc(&y, sizeof(float) * rows * V) != cudaSuccess) return 1;
    online_softmax<<<rows, 256>>>(x, y, V);  // silent: CUK007 checked after all launches
    softmax_cg<<<rows / 8, 256>>>(y, x, rows, V);
    probs_from_lse<<<rows / 8, dim3(1, 8)>>>(y, x, x, rows, V);
    if (auto e = cudaGetLastError(); e != cudaSuccess) {
        std::printf("%s\n", cudaGetErrorName(e));
        return 1;
    }
    return cudaDeviceSynchronize() == cudaSuccess ? 0 : 1;
}
