"""The costs as a picture: bytes against the size of the room, and against the difference, on logarithmic scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.sync.comparing import Cost

NAME_BYTES = 40
"""A message's date and digest: what listing all of a room takes for each."""

WIDTH, HEIGHT, PANEL, LEFT, TOP, BOTTOM = 860, 384, 360, 64, 84, 336
LOWEST, HIGHEST = 100, 100_000_000
"""Bytes at the bottom and at the top."""

BLUE, GREEN, GREY = "#06c", "#2a7", "#999"


def _y(value: float) -> float:
    share = math.log(max(value, LOWEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return BOTTOM - share * (BOTTOM - TOP)


def _bytes(value: int) -> str:
    return f"{value} B" if value < 1000 else f"{value // 1000} kB" if value < 1_000_000 else f"{value // 1_000_000} MB"


def _panel(left: int, title: str, xs: Sequence[int], costs: Sequence[Cost], names: Sequence[int]) -> list[str]:
    right = left + PANEL - 24
    first, last = math.log(xs[0]), math.log(max(xs[-1], xs[0] + 1))

    def x(value: float) -> float:
        return left + (math.log(value) - first) / (last - first) * (right - left)

    def line(values: Sequence[float], colour: str, more: str = "") -> str:
        points = " ".join(f"{x(at):.1f},{_y(value):.1f}" for at, value in zip(xs, values, strict=True))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{more}/>'

    parts = []
    for power in range(2, 9):
        value = 10**power
        parts.append(f'<line x1="{left}" x2="{right}" y1="{_y(value):.0f}" y2="{_y(value):.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{_y(value) + 4:.0f}" text-anchor="end">{_bytes(value)}</text>')
    y = BOTTOM + 18
    parts += [f'<text x="{x(at):.0f}" y="{y}" text-anchor="middle">{at:,}</text>' for at in xs]
    parts.append(f'<text x="{(left + right) / 2:.0f}" y="{BOTTOM + 38}" text-anchor="middle">{title}</text>')
    parts.append(line(names, GREY, ' stroke-dasharray="5 4"'))
    parts.append(line([cost.bytes for cost in costs], BLUE))
    parts.append(line([cost.compared for cost in costs], GREEN))
    for at, cost in zip(xs, costs, strict=True):
        parts.append(f'<circle cx="{x(at):.1f}" cy="{_y(cost.bytes):.1f}" r="3" fill="{BLUE}"/>')
        parts.append(
            f'<text x="{x(at):.1f}" y="{_y(cost.bytes) - 9:.1f}" text-anchor="middle" fill="{BLUE}">{cost.trips}</text>'
        )
    return parts


def plot(by_size: Sequence[Cost], by_difference: Sequence[Cost]) -> str:
    """An SVG picture. Both series ascend, and have two points at least."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"',
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    legend = (
        (BLUE, "bytes until both hold the same; the numbers are round trips"),
        (GREEN, "of these, bytes that compare"),
        (GREY, "bytes of a list of all the room's messages"),
    )
    for number, (colour, text) in enumerate(legend):
        parts.append(f'<text x="{LEFT}" y="{18 + 17 * number}" fill="{colour}">{text}</text>')
    different, messages = by_size[0].different, by_difference[0].messages
    sizes = [round(cost.messages, -3) for cost in by_size]
    parts += _panel(
        LEFT,
        f"messages in the room, of which {different} are different",
        sizes,
        by_size,
        [NAME_BYTES * size for size in sizes],
    )
    parts += _panel(
        LEFT + PANEL + 72,
        f"different messages, in a room of {round(messages, -3):,}",
        [cost.different for cost in by_difference],
        by_difference,
        [NAME_BYTES * cost.messages for cost in by_difference],
    )
    return "\n".join([*parts, "</svg>", ""])
