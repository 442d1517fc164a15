"""VTA as a device: its instruction set, memories, timing, simulator and driver boundary."""
