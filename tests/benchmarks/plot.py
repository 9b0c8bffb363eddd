"""A small plot as SVG, without a library, which one picture does not justify."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 40, 50
SERIES = (("p50_ms", "#1b7837", "median"), ("p99_ms", "#762a83", "99th percentile"))


def nice(value: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, … that is not less."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-3)))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.9999)


def draw(points: Sequence[Mapping[str, float]]) -> str:
    """Plot the milliseconds of a lookup (y) against pushes a second (x)."""
    most_x = nice(max(point["pushes_per_second"] for point in points))
    most_y = nice(max(point["p99_ms"] for point in points))

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            round(LEFT + (WIDTH - LEFT - RIGHT) * x / most_x, 1),
            round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / most_y, 1),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">A lookup while pushes arrive (ms)</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end">signed pushes a second'
        "</text>",
    ]
    for step in range(6):
        x, y = at(most_x * step / 5, most_y * step / 5)
        parts += [
            f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>',
            f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{most_y * step / 5:g}</text>',
            f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{most_x * step / 5:g}</text>",
        ]
    for number, (name, colour, words) in enumerate(SERIES):
        places = [at(point["pushes_per_second"], point[name]) for point in points]
        line = " ".join(f"{x},{y}" for x, y in sorted(places))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(
            f'<text x="{WIDTH - RIGHT}" y="{TOP + 16 * number}" text-anchor="end" fill="{colour}">'
            f"{words}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
