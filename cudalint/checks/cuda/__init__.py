"""Rules on CUDA C++ sources."""
