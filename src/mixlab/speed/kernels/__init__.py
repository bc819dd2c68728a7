"""Kernels for CPUs in C++, which is compiled on the user's machine, and for GPUs in Triton."""
