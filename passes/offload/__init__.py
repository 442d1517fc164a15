"""Moving layers to an accelerator: what can go, in which numbers, and the calls that run it."""
