"""Facts of a piece of CUDA text."""

from __future__ import annotations

from cudalint.facts.cuda import CudaFacts
from cudalint.facts.cuda.access import Access
from cudalint.facts.cuda.functions import Function
from cudalint.model import PackageFacts, Source
from cudalint.settings import Settings


def facts_of(text: str) -> CudaFacts:
    return CudaFacts(Source("kernel.cu", text.encode(), "cuda"), Settings(), PackageFacts())


def kernel_of(text: str) -> Function:
    return facts_of(text).kernels[0]


def accesses(body: str, parameters: str = "float* x, float* y, int n, int C") -> list[Access]:
    """The accesses of a kernel with this body, in the order in which they are read."""
    kernel = kernel_of(f"__global__ void kernel({parameters}) {{\n{body}\n}}\n")
    return kernel.facts.values(kernel).accesses
