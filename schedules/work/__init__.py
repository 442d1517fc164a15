"""What a scheduled kernel does in one run: operations, and bytes at each level of memory."""
