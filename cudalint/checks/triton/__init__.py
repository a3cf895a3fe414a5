"""What is found in Triton kernels."""
