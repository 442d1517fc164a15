"""What a device is: TVM target, memories, limits, and how to run on it."""
