"""Neighbouring threads load or store neighbouring scalars that vector instructions could move.

## What it does

Finds kernels in which consecutive threads access consecutive elements of an array in global
memory one scalar at a time: element-wise kernels, copies, reductions, and the rows of norms and
softmaxes. An access counts if it moves less than eight bytes and its index grows by one from
thread to thread. A kernel that already moves vectors anywhere (`float4`, `half2`, packs behind
aliases, macros or helpers) is not reported, nor is one that gathers, strides or looks at the
neighbours of its element.

## Why is this bad

The kernel is limited by memory bandwidth, and one scalar a thread does not reach it: every warp
issues four times as many load and store instructions as 16-byte vectors need, and has a quarter
of the bytes in flight. Expected impact: high where the kernel does little else than move data,
and the higher the narrower its type: on an H200, element-wise kernels over 16 million elements
and more became 1.2 to 1.9 times as fast in float, 1.6 to 2.1 times in half precision and 3 to 3.6
times on bytes. Below a million elements the launch decides, and nothing changes.

## Example

```cuda
__global__ void scale(const float* x, float* y, float a, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        y[i] = a * x[i];
    }
}

void run(const float* x, float* y, int n) {
    scale<<<(n + 255) / 256, 256>>>(x, y, 2.0f, n);
}
```

## Use instead

```cuda
#include <cudalint/vector.cuh>

__global__ void scale(const float* x, float* y, float a, int n) {
    cudalint::for_each(n, [=](float x_i, float& y_i) {
        y_i = a * x_i;
    }, cudalint::in(x), cudalint::out(y));
}

void run(const float* x, float* y, int n) {
    scale<<<cudalint::vector_grid<float>((n + 255) / 256), 256>>>(x, y, 2.0f, n);
}
```

`python -m cudalint.kernels --include` prints the folder of the header.

## Fix safety

The fix rewrites element-wise kernels: every element is computed from the elements at its own
index, in a grid-stride loop or behind one bound check. The alignment of every pointer is tested
at run time, what no whole vector holds is done one by one, and every element is computed exactly
once under any grid. Launches that have a thread for every element get fewer blocks, because idle
threads would cost more than the vectors save. Results are bit for bit the same; a body that adds
two products is left alone, since the compiler may fuse either one. The fix is unsafe because the
kernel then needs the package's header on its include path, because arrays that overlap shifted
against each other would be read in another order, and because a bound check also keeps a grid
that is too small from reaching the rest: launches in other files must cover all elements.

There is no fix for kernels that reduce, use shared memory or touch other elements, where no
launch is in sight or one is not known to cover all elements, and where an array may be read after
another was written.

## References

- [Increase performance with vectorized memory access](https://developer.nvidia.com/blog/cuda-pro-tip-increase-performance-with-vectorized-memory-access/)
- [CUDA C++ Programming Guide: device memory accesses](https://docs.nvidia.com/cuda/cuda-c-programming-guide/#device-memory-accesses)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.cuda import CudaFacts
from cudalint.facts.cuda.access import Access
from cudalint.facts.cuda.contiguous import (
    is_vectorized,
    is_worth_vectors,
    pattern,
    takes_vectors,
)
from cudalint.facts.cuda.functions import Function
from cudalint.model import Finding, Span


def check(facts: CudaFacts) -> Iterator[Finding]:
    for kernel in facts.kernels:
        if is_vectorized(kernel) or takes_vectors(kernel):
            continue
        found = pattern(kernel)
        if not is_worth_vectors(kernel, found):
            continue
        span = Span(
            min(access.node.start_byte for access in found.dense),
            max(access.node.end_byte for access in found.dense),
        )
        captures = {"kernel": kernel, "pattern": found}
        yield Finding("CUK001", span, _message(kernel, found.dense), captures)


def _message(kernel: Function, dense: tuple[Access, ...]) -> str:
    names = list(dict.fromkeys(access.pointer.base for access in dense))
    shown = ", ".join(f"`{name}`" for name in names[:3]) + (", …" if len(names) > 3 else "")
    kind = dense[0].pointer.type.name
    return (
        f"Neighbouring threads access {shown} one `{kind}` at a time; "
        "16-byte vectors move the same with a fraction of the memory instructions"
    )
