"""Triton kernels, one op a file; they import triton and nothing else."""
