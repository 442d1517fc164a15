"""Kernels of thread blocks: CUDA, and OpenCL for tests."""
