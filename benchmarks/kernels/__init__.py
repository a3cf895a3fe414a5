"""The kernels beside their peers on one GPU."""
