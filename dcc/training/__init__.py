"""Training after compression: ONNX to torch, pruning, shared weights, and the loop around them."""
