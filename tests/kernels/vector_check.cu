// Runs cudalint/vector.cuh against scalar loops: sizes that do and do not divide, pointers off the
// vector boundary together and apart, mixed types, in place, grid and block. Compares bytes,
// and bands round every result. Prints "ok <cases>" and exits 0, or names the first that differs.
//
//   nvcc -std=c++17 -O2 -arch=native -I cudalint/kernels/include tests/kernels/vector_check.cu
// The scalar kernels are what the vector ones are compared with.
// cudalint: file-ignore[CUK001]
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <cudalint/vector.cuh>

#define CHECK(call)                                                             \
    do {                                                                        \
        const cudaError_t status = (call);                                      \
        if (status != cudaSuccess) {                                            \
            std::printf("%s: %s\n", #call, cudaGetErrorString(status));         \
            std::exit(2);                                                       \
        }                                                                       \
    } while (0)

constexpr int band = 64;

template <class T>
struct Op {
    __device__ static T mix(T a, T b) { return a * b + a; }
};
template <>
struct Op<__half> {
    __device__ static __half mix(__half a, __half b) { return __hfma(a, b, a); }
};
template <>
struct Op<__nv_bfloat16> {
    __device__ static __nv_bfloat16 mix(__nv_bfloat16 a, __nv_bfloat16 b) { return __hfma(a, b, a); }
};

template <class T>
__global__ void mix_scalar(const T* a, const T* b, T* c, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) c[i] = Op<T>::mix(a[i], b[i]);
}
template <class T>
__global__ void mix_vector(const T* a, const T* b, T* c, int n) {
    cudalint::for_each(
        cudalint::covered(n), [=](T a_i, T b_i, T& c_i) { c_i = Op<T>::mix(a_i, b_i); },
        cudalint::in(a), cudalint::in(b), cudalint::out(c));
}

template <class T>
__global__ void keep_scalar(const T* a, T* c, size_t n) {
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        if (i % 3 == 0) c[i] = Op<T>::mix(a[i], c[i]);
    }
}
template <class T>
__global__ void keep_vector(const T* a, T* c, size_t n) {
    cudalint::for_each_indexed(
        n,
        [=](size_t i, T a_i, T& c_i) {
            if (i % 3 == 0) c_i = Op<T>::mix(a_i, c_i);
        },
        cudalint::in(a), cudalint::inout(c));
}

template <class T>
__global__ void widen_scalar(const T* a, float* c, unsigned n) {
    const T* row = a + blockIdx.x * n;
    float* result = c + blockIdx.x * n;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        result[i] = static_cast<float>(row[i]) + static_cast<float>(i);
    }
}
template <class T>
__global__ void widen_vector(const T* a, float* c, unsigned n) {
    cudalint::for_each_in_block_indexed(
        n, [](unsigned i, T a_i, float& c_i) { c_i = static_cast<float>(a_i) + static_cast<float>(i); },
        cudalint::in(a + blockIdx.x * n), cudalint::out(c + blockIdx.x * n));
}

// A device array with a band before and after, whose first element stands `shift` elements off a
// 256-byte boundary.
template <class T>
struct Array {
    std::vector<T> host;
    T* base = nullptr;
    int shift;

    Array(int n, int shift, unsigned seed) : host(n + 2 * band), shift(shift) {
        std::srand(seed);
        for (T& value : host) value = static_cast<T>(static_cast<float>(std::rand() % 2001 - 1000) / 64);
        CHECK(cudaMalloc(&base, (host.size() + 16) * sizeof(T)));
        CHECK(cudaMemcpy(base + shift, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
    }
    Array(const Array&) = delete;
    ~Array() { cudaFree(base); }
    T* data() { return base + shift + band; }
    std::vector<T> read() {
        CHECK(cudaGetLastError());
        CHECK(cudaMemcpy(host.data(), base + shift, host.size() * sizeof(T), cudaMemcpyDeviceToHost));
        return host;
    }
};

int cases = 0;

template <class T>
void same(const char* what, int n, int sa, int sb, int sc, Array<T>& expected, Array<T>& got) {
    const std::vector<T> x = expected.read(), y = got.read();
    ++cases;
    if (std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) != 0) {
        std::printf("%s differs: n = %d, shifts %d %d %d, %d-byte elements\n", what, n, sa, sb, sc,
                    int(sizeof(T)));
        std::exit(1);
    }
}

template <class T>
void run(int n, int sa, int sb, int sc) {
    Array<T> a(n, sa, 1), b(n, sb, 2), c(n, sc, 3), d(n, sc, 3);
    const int blocks = (n + 127) / 128 + 1;
    mix_scalar<<<blocks, 128>>>(a.data(), b.data(), c.data(), n);
    CHECK(cudaGetLastError());
    mix_vector<<<blocks, 128>>>(a.data(), b.data(), d.data(), n);
    CHECK(cudaGetLastError());
    same("for_each", n, sa, sb, sc, c, d);
    // fewer threads than elements: the guard of the scalar kernel reaches only some
    mix_scalar<<<1, 96>>>(b.data(), a.data(), c.data(), n);
    CHECK(cudaGetLastError());
    mix_vector<<<1, 96>>>(b.data(), a.data(), d.data(), n);
    CHECK(cudaGetLastError());
    same("covered", n, sa, sb, sc, c, d);
    keep_scalar<<<3, 64>>>(a.data(), c.data(), static_cast<size_t>(n));
    CHECK(cudaGetLastError());
    keep_vector<<<3, 64>>>(a.data(), d.data(), static_cast<size_t>(n));
    CHECK(cudaGetLastError());
    same("inout", n, sa, sb, sc, c, d);
    mix_scalar<<<blocks, 128>>>(c.data(), b.data(), c.data(), n);
    CHECK(cudaGetLastError());
    mix_vector<<<blocks, 128>>>(d.data(), b.data(), d.data(), n);
    CHECK(cudaGetLastError());
    same("in place", n, sa, sb, sc, c, d);
}

template <class T>
void run_rows(int n, int sa, int sc) {
    Array<T> a(7 * n, sa, 1);
    Array<float> c(7 * n, sc, 3), d(7 * n, sc, 3);
    widen_scalar<<<7, 64>>>(a.data(), c.data(), static_cast<unsigned>(n));
    CHECK(cudaGetLastError());
    widen_vector<<<7, 64>>>(a.data(), d.data(), static_cast<unsigned>(n));
    CHECK(cudaGetLastError());
    same("for_each_in_block", n, sa, 0, sc, c, d);
}

template <class T>
void run_all() {
    for (int n : {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 100, 127, 128, 129, 1000, 1023, 1024, 65537}) {
        for (int shift : {0, 1, 2, 3, 5, 8}) {
            run<T>(n, shift, shift, shift);          // off the boundary together
            run<T>(n, shift, 0, 0);                  // and apart
            run<T>(n, 0, 0, shift);
            run<T>(n, 0, (shift + 1) % 9, shift);
        }
        if (n < 1025) {
            for (int shift : {0, 1, 4}) run_rows<T>(n, shift, shift);
        }
    }
    // n <= 0 touches nothing
    Array<T> a(8, 0, 1), c(8, 0, 3), d(8, 0, 3);
    mix_vector<<<1, 32>>>(a.data(), a.data(), d.data(), 0);
    CHECK(cudaGetLastError());
    mix_vector<<<1, 32>>>(a.data(), a.data(), d.data(), -5);
    CHECK(cudaGetLastError());
    same("n <= 0", 0, 0, 0, 0, c, d);
}

int main() {
    run_all<float>();
    run_all<__half>();
    run_all<__nv_bfloat16>();
    run_all<signed char>();
    run_all<double>();
    std::printf("ok %d\n", cases);
    return 0;
}
