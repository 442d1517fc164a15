"""The three queues over time as an SVG, an instruction a bar; hovering shows what it is."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from dcc.codegen.vta.disassembler import line
from dcc.codegen.vta.stream import Stream
from dcc.targets.vta.isa import Opcode, Queue, queue_of, unpack
from dcc.targets.vta.timing import Timeline

_WIDTH, _ROW, _LEFT, _TOP = 1600, 46, 80, 40
_COLOURS = {
    Opcode.LOAD: "#4c78a8",
    Opcode.GEMM: "#54a24b",
    Opcode.ALU: "#e8a33d",
    Opcode.STORE: "#b279a2",
    Opcode.FINISH: "#333333",
}
_TICKS = 8


def timeline_svg(title: str, stream: Stream, timeline: Timeline) -> str:
    """Draw when each instruction of a stream ran.

    Parameters
    ----------
    timeline
        Of that stream, one entry for each instruction.
    """
    scale = (_WIDTH - _LEFT - 20) / max(timeline.cycles, 1.0)
    height = _TOP + _ROW * len(Queue) + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="15">{escape(title)}: {timeline.cycles:,.0f} cycles, '
        f"GEMM utilisation {100 * timeline.utilisation:.1f} %</text>",
    ]
    for queue in Queue:
        y = _TOP + _ROW * queue
        parts.append(f'<text x="8" y="{y + 20}">{queue.name.lower()}</text>')
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH - _LEFT - 20}" height="{_ROW - 14}" '
            'fill="#f2f2f2"/>'
        )
    parts += _bars(stream, timeline, scale)
    parts += _axis(timeline.cycles, scale)
    parts += _legend(height)
    return "\n".join([*parts, "</svg>", ""])


def _bars(stream: Stream, timeline: Timeline, scale: float) -> Sequence[str]:
    bars = []
    for number, (low, high) in enumerate(stream.words.tolist()):
        fields = unpack(low, high)
        start, end = timeline.starts[number], timeline.ends[number]
        x, width = _LEFT + start * scale, max((end - start) * scale, 0.3)
        y = _TOP + _ROW * queue_of(fields)
        place = int(stream.places[number])
        text = line(number, fields, stream.buffers[place] if place >= 0 else "")
        text = " ".join(text.split())
        tip = f"{text} | {stream.labels[number]} | cycles {start:.0f} to {end:.0f}"
        bars.append(
            f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_ROW - 14}" '
            f'fill="{_COLOURS[Opcode(fields["opcode"])]}"><title>{escape(tip)}</title></rect>'
        )
    return bars


def _axis(cycles: float, scale: float) -> Sequence[str]:
    y = _TOP + _ROW * len(Queue) + 8
    ticks = []
    for tick in range(_TICKS + 1):
        at = cycles * tick / _TICKS
        ticks.append(
            f'<text x="{_LEFT + at * scale:.1f}" y="{y}" text-anchor="middle" fill="#555">'
            f"{at:,.0f}</text>"
        )
    return ticks


def _legend(height: int) -> Sequence[str]:
    items = []
    for place, (opcode, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + 110 * place
        items.append(f'<rect x="{x}" y="{height - 28}" width="14" height="14" fill="{colour}"/>')
        items.append(f'<text x="{x + 20}" y="{height - 16}">{opcode.name}</text>')
    return items
