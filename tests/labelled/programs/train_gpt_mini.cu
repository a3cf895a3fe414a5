// The device half of a GPT trainer without a framework: encoder, attention softmax, residuals, AdamW.
#include <cuda_runtime.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CEIL_DIV(M, N) (((M) + (N) - 1) / (N))

void cudaCheck(cudaError_t error, const char* file, int line) {
    if (error != cudaSuccess) {
        printf("[CUDA ERROR] at file %s:%d:\n%s\n", file, line, cudaGetErrorString(error));
        exit(EXIT_FAILURE);
    }
}
#define cudaCheck(err) (cudaCheck(err, __FILE__, __LINE__))

template <class ElementType>
struct alignas(16) Packed128 {
    static constexpr size_t size = sizeof(int4) / sizeof(ElementType);
    ElementType payload[size];
    __device__ ElementType& operator[](int i) { return payload[i]; }
    __device__ const ElementType& operator[](int i) const { return payload[i]; }
};
typedef Packed128<float> x128;

template <class T>
__device__ Packed128<T> load128(const T* address) {
    return *reinterpret_cast<const Packed128<T>*>(address);
}
template <class T>
__device__ void store128(T* target, Packed128<T> value) {
    *reinterpret_cast<Packed128<T>*>(target) = value;
}

__global__ void encoder_forward_kernel(float* out, const int* inp, const float* wte, const float* wpe, int B, int T, int C) {
    int idx = (blockIdx.x * blockDim.x + threadIdx.x) * x128::size;
    if (idx >= B * T * C) return;
    int bt = idx / C, c = idx % C;
    x128 a = load128(wte + inp[bt] * C + c);  // silent: CUK001 sixteen bytes through a helper
    x128 b = load128(wpe + (bt % T) * C + c);
    x128 sum;
    for (int k = 0; k < x128::size; k++) sum[k] = a[k] + b[k];
    store128(out + idx, sum);
}

__global__ void residual_forward_kernel(float* out, const float* inp1, const float* inp2, int N) {
    int idx = blockIdx.x * blockDim.x + threadIdx.x;
    if (idx < N) {
        out[idx] = __ldcs(&inp1[idx]) + __ldcs(&inp2[idx]);  // expect: CUK001
    }
}

// The causal softmax of one row of scores: unnormalised first, as in the very first version.
__global__ void softmax_forward_kernel1(float* att, const float* preatt, float scale, int N, int T) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= N * T) return;
    int t = row % T;
    const float* x = preatt + row * T;
    float* y = att + row * T;
    float expsum = 0.0f;
    for (int i = 0; i <= t; i++) {
        float ev = expf(scale * x[i]);  // expect: CUK002
        expsum += ev;
        y[i] = ev;
    }
    float inv = expsum == 0.0f ? 0.0f : 1.0f / expsum;
    for (int i = 0; i < T; i++) y[i] = i <= t ? y[i] * inv : 0.0f;
}

__global__ void softmax_forward_kernel5(float* out, float inv_temperature, const float* inp, int N, int T) {
    int idx = blockIdx.x * blockDim.y + threadIdx.y;
    if (idx >= N * T) return;
    int own_pos = idx % T;
    const float* x = inp + idx * T;
    float maxval = -FLT_MAX;
    float sumval = 0.0f;
    for (int i = 0; i <= own_pos; ++i) {
        float old = maxval;
        maxval = fmaxf(maxval, x[i]);
        sumval *= expf(inv_temperature * (old - maxval));
        sumval += expf(inv_temperature * (x[i] - maxval));  // silent: CUK002 an online softmax
    }
    float norm = 1.f / sumval;
    for (int i = 0; i <= own_pos; ++i) out[idx * T + i] = expf(inv_temperature * (x[i] - maxval)) * norm;
}

__global__ void adamw_kernel(float* params, const float* grads, float* m_memory, float* v_memory, long n, float lr, float beta1, float beta2,
                             float b1c, float b2c, float eps, float wd) {
    long i = (long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float grad = grads[i];  // expect: CUK001
    float m = beta1 * m_memory[i] + (1.0f - beta1) * grad;
    float v = beta2 * v_memory[i] + (1.0f - beta2) * grad * grad;
    m_memory[i] = m;
    v_memory[i] = v;
    params[i] -= lr * (m / b1c / (sqrtf(v / b2c) + eps) + wd * params[i]);
}

__global__ void fill_ids(long long* ids, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) ids[i] = i;  // silent: CUK001 eight bytes an access
}

void encoder_forward(float* out, const int* inp, const float* wte, const float* wpe, int B, int T, int C) {
    encoder_forward_kernel<<<CEIL_DIV(B * T * C / 4, 256), 256>>>(out, inp, wte, wpe, B, T, C);  // silent: CUK007 checked below
    cudaCheck(cudaGetLastError());
}

void attention_softmax(float* att, const float* preatt, float scale, int N, int T, int version) {
    switch (version) {
        case 1:
            softmax_forward_kernel1<<<CEIL_DIV(N * T, 256), 256>>>(att, preatt, scale, N, T);  // expect: CUK007
            break;
        default:
            softmax_forward_kernel5<<<CEIL_DIV(N * T, 8), dim3(32, 8)>>>(att, scale, preatt, N, T);  // expect: CUK007
    }
}

void residual_forward(float* out, const float* a, const float* b, int N) {
    residual_forward_kernel<<<CEIL_DIV(N, 512), 512>>>(out, a, b, N);  // silent: CUK007 checked below
    cudaCheck(cudaGetLastError());
}

static void launch_update(float* p, const float* g, float* m, float* v, long n, int t) {
    float b1c = 1.0f - powf(0.9f, t), b2c = 1.0f - powf(0.95f, t);
    adamw_kernel<<<CEIL_DIV(n, 512), 512>>>(p, g, m, v, n, 3e-4f, 0.9f, 0.95f, b1c, b2c, 1e-8f, 0.1f);  // silent: CUK007 its only caller checks
}

void gpt2_update(float* p, const float* g, float* m, float* v, long n, int t) {
    if (m == NULL) return;
    launch_update(p, g, m, v, n, t);
    cudaCheck(cudaGetLastError());
}

void number_samples(long long* ids, int n) {
    fill_ids<<<CEIL_DIV(n, 256), 256>>>(ids, n);  // expect: CUK007
}
