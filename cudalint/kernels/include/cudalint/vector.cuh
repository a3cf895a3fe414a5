// Aligned vector loads and stores, and element-wise loops made of them.
//
//   nvcc -std=c++17 -I "$(python -m cudalint.kernels --include)" program.cu
//
// Contract of for_each, which fixes of CUK001 rely on
//
//   __global__ void axpy(float a, const float* x, float* y, int n) {
//       cudalint::for_each(n, [=](float x_i, float& y_i) { y_i = a * x_i + y_i; },
//                          cudalint::in(x), cudalint::inout(y));
//   }
//   axpy<<<cudalint::vector_grid<float>((n + 255) / 256), 256>>>(2.0f, x, y, n);
//
// - `for_each(n, body, operands...)` calls `body` once for every i in [0, n), spread over the
//   threads of the launch along x. n is any integer type; n <= 0 does nothing. Which thread gets
//   which i is not specified, so `body` must not use threadIdx, shared memory, barriers, warp
//   primitives, or another element than its own.
// - Operands, in the order of the arguments of `body`:
//     in(p)     p[i] is loaded; body takes `T`, `const T&` or `auto`. p may be const.
//     out(p)    p[i] is stored and never loaded; body takes `T&` and must assign it on every path.
//     inout(p)  p[i] is loaded and stored; body takes `T&`. For reads followed by a write, and
//               for writes that not every path makes (an untouched element is stored back as it was).
//   One array read and written is ONE inout, not an in and an out. Distinct operands may be the
//   same array exactly (in-place use) if the body reads before it writes; arrays that overlap
//   shifted are a data race before and after.
// - A plain lambda inside a kernel needs no --extended-lambda. Capture scalars by value, `[=]`;
//   further arrays may be read through captured pointers (`bias[i % columns]`) with
//   `for_each_indexed`, whose body takes the index first, in the type of n. `continue` in a loop
//   that becomes a body is written `return`.
// - `for_each(n, ...)` walks in grid strides, as `for (i = global id; i < n; i += all threads)`.
//   A kernel of the form `if (i < n)` visits at most one element a thread: `covered(n)` keeps that
//   meaning for a launch that the fix does not change. Where the fix divides the grid by
//   `vector_width<T...>()`, it passes n itself.
//   On the host, `kernel<<<cudalint::vector_grid<T...>(grid), block>>>(...)` divides it. That is
//   what makes such a kernel faster (1.26 times for float, 2.7 times for a copy of bfloat16 on an
//   H200): a thread for every element leaves most blocks idle, and starting them costs more than
//   vectors save, 28 and 14 % more time than the scalar loop. benchmarks/kernels/vector.cu times it.
// - `for_each_in_block` and `for_each_in_block_indexed` do the same with the threads of one block,
//   as `for (i = threadIdx.x; i < n; i += blockDim.x)` over a row. They hold no barrier.
// - Alignment is tested at run time, for every pointer: where all operands reach a vector boundary
//   at the same element, the elements before it are done one by one, then whole vectors, then the
//   rest one by one; where they do not, all are done one by one. No element outside [0, n) is
//   touched. Every element sees the same arithmetic either way, so results are bit for bit those
//   of the scalar loop. A pointer must be aligned to its own element, as C++ asks.
// - The vectors hold `vector_width<T...>()` elements: 16 bytes of the widest operand's type.
//
// static_assert refuses element types that are not trivially copyable and vectors that are not
// 1, 2, 4, 8 or 16 bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace cudalint {

// The widest access of a thread: one 128-bit instruction on every architecture from sm_75 on.
constexpr int max_vector_bytes = 16;

namespace detail {

template <int Bytes>
struct Word;
template <>
struct Word<1> { using type = std::uint8_t; };
template <>
struct Word<2> { using type = std::uint16_t; };
template <>
struct Word<4> { using type = std::uint32_t; };
template <>
struct Word<8> { using type = uint2; };
template <>
struct Word<16> { using type = uint4; };

constexpr bool is_access_size(int bytes) {
    return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16;
}

}  // namespace detail

// `Width` elements that are moved by one instruction.
template <class T, int Width>
struct alignas(sizeof(T) * Width) Vector {
    static_assert(std::is_trivially_copyable_v<T>, "the element type must be trivially copyable");
    static_assert(Width > 0 && (Width & (Width - 1)) == 0, "the width must be a power of two");
    static_assert(detail::is_access_size(int(sizeof(T)) * Width),
                  "a vector must be 1, 2, 4, 8 or 16 bytes");

    T element[Width];

    __host__ __device__ T& operator[](int k) { return element[k]; }
    __host__ __device__ const T& operator[](int k) const { return element[k]; }
};

// True where a `Vector<T, Width>` may be loaded from or stored to `pointer`.
template <int Width, class T>
__host__ __device__ bool is_aligned(const T* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer) % (sizeof(T) * Width) == 0;
}

// One load of `Width` elements. `pointer` must be aligned: see is_aligned.
template <int Width, class T>
__host__ __device__ Vector<T, Width> load_vector(const T* pointer) {
    using Word = typename detail::Word<int(sizeof(T)) * Width>::type;
    const Word word = *reinterpret_cast<const Word*>(pointer);
    Vector<T, Width> vector;
    std::memcpy(&vector, &word, sizeof(word));
    return vector;
}

// One store of `Width` elements. `pointer` must be aligned: see is_aligned.
template <int Width, class T>
__host__ __device__ void store_vector(T* pointer, const Vector<T, Width>& vector) {
    using Word = typename detail::Word<int(sizeof(T)) * Width>::type;
    Word word;
    std::memcpy(&word, &vector, sizeof(word));
    *reinterpret_cast<Word*>(pointer) = word;
}

// How many elements a thread moves at once when arrays of these types are walked together.
template <class... T>
__host__ __device__ constexpr int vector_width() {
    static_assert(sizeof...(T) > 0, "vector_width needs an element type");
    std::size_t widest = 1;
    ((widest = sizeof(T) > widest ? sizeof(T) : widest), ...);
    return widest >= max_vector_bytes ? 1 : max_vector_bytes / int(widest);
}

// The blocks that a launch needs whose kernel moves vectors, from those for one element a thread.
template <class... T>
inline dim3 vector_grid(dim3 scalar) {
    constexpr unsigned width = vector_width<T...>();
    return dim3((scalar.x + width - 1) / width, scalar.y, scalar.z);
}

// An array and what the body does with its elements.
template <class T, bool Loads, bool Stores>
struct Operand {
    using Element = T;
    static constexpr bool loads = Loads;
    static constexpr bool stores = Stores;
    std::conditional_t<Stores, T*, const T*> pointer;

    __host__ __device__ Operand from(long long i) const { return {pointer + i}; }
};

template <class T>
__host__ __device__ Operand<T, true, false> in(const T* pointer) { return {pointer}; }
template <class T>
__host__ __device__ Operand<T, false, true> out(T* pointer) { return {pointer}; }
template <class T>
__host__ __device__ Operand<T, true, true> inout(T* pointer) { return {pointer}; }

namespace detail {

// The first `Width` elements of an operand, in registers.
template <class Op, int Width>
struct Held {
    using T = typename Op::Element;
    Vector<T, Width> vector;

    __device__ explicit Held(Op op) : vector{} {
        if constexpr (Op::loads) vector = load_vector<Width>(op.pointer);
    }
    __device__ void store(Op op) const {
        if constexpr (Op::stores) store_vector<Width>(op.pointer, vector);
    }
    // What the body may bind: a reference where it stores, a constant where it only reads.
    __device__ std::conditional_t<Op::stores, T&, const T&> at(int k) { return vector[k]; }
};

template <bool Indexed, class Index, class Body, class... Element>
__device__ void call(Body& body, long long i, Element&&... element) {
    if constexpr (Indexed) {
        body(static_cast<Index>(i), static_cast<Element&&>(element)...);
    } else {
        body(static_cast<Element&&>(element)...);
    }
}

template <int Width, bool Indexed, class Index, class Body, class... Op>
__device__ void apply_held(Body& body, long long i, Op... op, Held<Op, Width>... held) {
#pragma unroll
    for (int k = 0; k < Width; ++k) call<Indexed, Index>(body, i + k, held.at(k)...);
    (held.store(op), ...);
}

// Loads the first `Width` elements of every operand, calls the body on each, stores.
// `i` is the index of the first.
template <int Width, bool Indexed, class Index, class Body, class... Op>
__device__ void apply(Body& body, long long i, Op... op) {
    apply_held<Width, Indexed, Index, Body, Op...>(body, i, op..., Held<Op, Width>(op)...);
}

// The number of elements before the first vector boundary of `pointer`.
template <int Width, class T>
__device__ int elements_to_boundary(const T* pointer) {
    const auto element = reinterpret_cast<std::uintptr_t>(pointer) / sizeof(T);
    return int((Width - element % Width) % Width);
}

// Whole vectors from the operands' first boundary on.
template <int Width, bool Indexed, class Index, class Body, class... Op>
__device__ void walk_vectors(long long rank, long long threads, long long vectors, long long lead,
                             Body& body, Op... op) {
    for (long long v = rank; v < vectors; v += threads) {
        long long first = v * Width;
        // Hides where the offset comes from: nvcc 13.0 splits wide stores at offsets it folds.
        asm("" : "+l"(first));
        apply<Width, Indexed, Index>(body, lead + first, op.from(first)...);
    }
}

template <bool Indexed, class Index, class Body, class First, class... Rest>
__device__ void walk(long long rank, long long threads, long long n, Body& body, First first,
                     Rest... rest) {
    constexpr int width = vector_width<typename First::Element, typename Rest::Element...>();
    const long long lead = elements_to_boundary<width>(first.pointer);
    const bool together = ((elements_to_boundary<width>(rest.pointer) == lead) && ... && true);
    const long long vectors = together && lead < n ? (n - lead) / width : 0;
    walk_vectors<width, Indexed, Index>(rank, threads, vectors, lead, body, first.from(lead),
                                        rest.from(lead)...);
    // What no whole vector holds: the elements before the boundary and after the last vector.
    const long long in_vectors = vectors * width;
    for (long long e = rank; e < n - in_vectors; e += threads) {
        const long long i = e < lead ? e : e + in_vectors;
        apply<1, Indexed, Index>(body, i, first.from(i), rest.from(i)...);
    }
}

__device__ inline long long grid_rank() {
    return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline long long grid_size() {
    return static_cast<long long>(gridDim.x) * blockDim.x;
}

}  // namespace detail

// min(n, threads of the launch along x): what a kernel guarded by `if (i < n)` reaches.
template <class Index>
__device__ Index covered(Index n) {
    static_assert(std::is_integral_v<Index>, "n must be an integer");
    const long long threads = detail::grid_size();
    return static_cast<long long>(n) < threads ? n : static_cast<Index>(threads);
}

template <class Index, class Body, class... Op>
__device__ void for_each(Index n, Body body, Op... op) {
    static_assert(std::is_integral_v<Index>, "n must be an integer");
    detail::walk<false, Index>(detail::grid_rank(), detail::grid_size(),
                               static_cast<long long>(n), body, op...);
}

template <class Index, class Body, class... Op>
__device__ void for_each_indexed(Index n, Body body, Op... op) {
    static_assert(std::is_integral_v<Index>, "n must be an integer");
    detail::walk<true, Index>(detail::grid_rank(), detail::grid_size(),
                              static_cast<long long>(n), body, op...);
}

template <class Index, class Body, class... Op>
__device__ void for_each_in_block(Index n, Body body, Op... op) {
    static_assert(std::is_integral_v<Index>, "n must be an integer");
    detail::walk<false, Index>(threadIdx.x, blockDim.x, static_cast<long long>(n), body, op...);
}

template <class Index, class Body, class... Op>
__device__ void for_each_in_block_indexed(Index n, Body body, Op... op) {
    static_assert(std::is_integral_v<Index>, "n must be an integer");
    detail::walk<true, Index>(threadIdx.x, blockDim.x, static_cast<long long>(n), body, op...);
}

}  // namespace cudalint
