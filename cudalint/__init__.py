"""cudalint: a linter with autofixes for PyTorch, Triton and CUDA C++."""

__version__ = "0.1.0"
