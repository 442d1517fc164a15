"""Relax variable names for ONNX tensors: safe identifiers, unique over the function."""

from __future__ import annotations

import keyword
import re


class Names:
    """Hands out unique identifiers; TVMScript prints and parses them unchanged."""

    def __init__(self) -> None:
        self._taken: set[str] = {"main", "R", "T", "I"}

    def fresh(self, onnx_name: str) -> str:
        """Give an identifier that resembles ``onnx_name`` and was not handed out before."""
        base = re.sub(r"[^0-9A-Za-z_]+", "_", onnx_name).strip("_") or "tensor"
        # lv and gv are the names that the block builder gives to intermediate results.
        if base[0].isdigit() or keyword.iskeyword(base) or re.fullmatch(r"[lg]v\d*", base):
            base = f"t_{base}"
        name, count = base, 1
        while name in self._taken:
            name, count = f"{base}_{count}", count + 1
        self._taken.add(name)
        return name
