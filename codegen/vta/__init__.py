"""What is emitted for VTA: instructions, micro-ops, streams, programs and their listings."""
