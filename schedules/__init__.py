"""Kernels and their schedules, one folder per target family."""
