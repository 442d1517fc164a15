"""Names of the buffers in DRAM that streams refer to, and of the functions that a module calls."""

from __future__ import annotations

INPUT = "input"
RESIDUAL = "residual"
"""The tensor that is added, and the second operand of a sum."""
OUTPUT = "output"
WEIGHTS = "weights"
BIAS = "bias"
ONES = "ones"
"""The input that blocks of bias are multiplied by."""
IDENTITY = "identity"
"""Blocks through which tensors are added, with their shifts on the diagonal."""
UNIT = "unit"
"""The block through which sums of another stream are added."""
SUMS = "sums"
"""Sums from one stream to the next: tensors like the result, one for each digit."""
UOPS = "uops"
"""Micro-ops of a stream."""

DIGITS = 4
"""Bytes of an accumulator, in which a sum goes from one stream to the next."""

RUN = "dcc.accelerator.run"
QUANTIZE = "dcc.accelerator.quantize"
DEQUANTIZE = "dcc.accelerator.dequantize"
