"""Kernels and default schedules for CPUs."""
