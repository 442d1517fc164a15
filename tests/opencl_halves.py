"""Half precision where OpenCL has none: halves are stored as such and computed with as floats.

Every OpenCL has ``vload_half`` and ``vstore_half``, which round as a card does. Kernels sum in
single precision anyway; operators that round each step (a sum of two halves) round when they store.
"""

from __future__ import annotations

import re

POINTER = re.compile(r"__global (?:const )?half\* (?:restrict )?(\w+)")
SUPPORT = re.compile(r"#ifdef cl_khr_fp16.*?#endif", flags=re.DOTALL)
NUMBER = re.compile(r"(-?(?:\d+\.\d*|\d+)(?:e[+-]?\d+)?)h\b")


def with_stored_halves(source):
    """TVM's OpenCL source without arithmetic of halves."""
    if not re.search(r"\bhalf", source):
        return source
    lines, names = [], set()
    for line in SUPPORT.sub("", source).splitlines():
        if "__kernel" in line:  # each kernel has names of its own
            names = set(POINTER.findall(line))
            lines.append(line)
        else:
            lines.append(_line(line, names))
    return "\n".join(lines)


def _line(line, names):
    stored = re.match(r"(\s*)(\w+)\[", line)
    if stored and stored[2] in names:
        end = _closing(line, stored.end() - 1)
        value = re.match(r"\s*=\s*(.*);\s*$", line[end + 1 :])[1]
        place = _value(line[stored.end() : end], names)
        return f"{stored[1]}vstore_half((float)({_value(value, names)}), {place}, {stored[2]});"
    return _value(line, names)


def _value(text, names):
    """Loads by ``vload_half``; casts and variables of type float."""
    for name in names:
        text = re.sub(rf"vload(\d+)\((\w+), {name} \+ ", rf"vload_half\1(\2, {name} + ", text)
        text = re.sub(
            rf"vstore(\d+)\((.*), (\w+), {name} \+ ", rf"vstore_half\1(\2, \3, {name} + ", text
        )
        while found := re.search(rf"(?<!\w){name}\[", text):
            end = _closing(text, found.end() - 1)
            inner = text[found.end() : end]
            text = f"{text[: found.start()]}vload_half({inner}, {name}){text[end + 1 :]}"
    text = re.sub(r"\bhalf(\d+)\b", r"float\1", text)
    text = re.sub(r"convert_half(\d*)", r"convert_float\1", text)
    return re.sub(r"\bhalf\b(?!\*)", "float", NUMBER.sub(r"\1f", text))


def _closing(text, opening):
    """Place of the bracket that closes the one at ``opening``."""
    depth = 0
    for place in range(opening, len(text)):
        depth += {"[": 1, "]": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"no closing bracket: {text}")
