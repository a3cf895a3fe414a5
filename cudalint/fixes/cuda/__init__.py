"""Fixes of CUDA C++ sources."""
