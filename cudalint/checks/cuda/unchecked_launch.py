"""A kernel launch whose error nobody looks at.

## What it does

Finds launches (`kernel<<<grid, block>>>(…)`) after which nothing asks for the error before the
end of the function: no `cudaGetLastError` or `cudaPeekAtLastError` whose result is used, no
checked synchronisation or copy, no macro or helper that does it, and no check in a caller of the
same file. Launches inside dispatch lambdas may be checked behind the lambda.

## Why is this bad

A launch returns nothing. A wrong configuration (too many threads, too much shared memory, no code
for this GPU) and every error of the launch itself are only recorded, and the program goes on with
results that were never written. The error surfaces much later, in an innocent call, or not at
all. Expected impact: none on speed; a check costs well under a microsecond and does not
synchronise.

## Example

```cuda
void scale(float* x, float a, int n) {
    scale_kernel<<<(n + 255) / 256, 256>>>(x, a, n);
}
```

## Use instead

```cuda
void scale(float* x, float a, int n) {
    scale_kernel<<<(n + 255) / 256, 256>>>(x, a, n);
    CUDA_CHECK(cudaGetLastError());
}
```

## Fix safety

The fix adds the check that the file already has: its own macro or helper around
`cudaGetLastError()`, or one of its own that asks for the last error. In a PyTorch extension
without one it adds `C10_CUDA_KERNEL_LAUNCH_CHECK()` and its include. It is safe: nothing changes
unless a launch failed. Where the file has no check of its own, and for launches inside macros,
there is no fix.

## References

- [CUDA C++ Programming Guide: error checking](https://docs.nvidia.com/cuda/cuda-c-programming-guide/#error-checking)
- [`c10/cuda/CUDAException.h`](https://github.com/pytorch/pytorch/blob/main/c10/cuda/CUDAException.h)
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.cuda import CudaFacts
from cudalint.facts.cuda.errors import is_checked
from cudalint.model import Finding, Span


def check(facts: CudaFacts) -> Iterator[Finding]:
    for launch in facts.launches:
        if is_checked(launch):
            continue
        function = launch.function
        where = f"`{function.name}`" if function is not None else "the file"
        yield Finding(
            "CUK007",
            Span(launch.node.start_byte, launch.node.end_byte),
            f"Nothing in {where} checks whether the launch of `{launch.kernel}` failed, "
            "so its error surfaces later or never",
            {"launch": launch},
        )
