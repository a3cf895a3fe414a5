"""What is written instead in Triton kernels."""
