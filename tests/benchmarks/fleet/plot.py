"""A plot of a push's latency against the number of hosts, as SVG without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tests.benchmarks.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, nice

SERIES = (
    ("fleet_p50_ms", "#1b7837", "through the fleet, median"),
    ("fleet_p99_ms", "#762a83", "through the fleet, 99th percentile"),
    ("direct_p50_ms", "#7fbf7b", "straight to the host, median"),
    ("direct_p99_ms", "#c2a5cf", "straight to the host, 99th percentile"),
)


def draw(points: Sequence[Mapping[str, float]]) -> str:
    """Plot the milliseconds from push to durable (y) against connected hosts (x, logarithmic)."""
    low = math.floor(math.log10(min(point["hosts"] for point in points)))
    high = max(low + 1, math.ceil(math.log10(max(point["hosts"] for point in points)) - 1e-9))
    most = nice(max(point[name] for point in points for name, _, _ in SERIES))

    def at(hosts: float, value: float) -> tuple[float, float]:
        right = (math.log10(hosts) - low) / (high - low)
        return (
            round(LEFT + (WIDTH - LEFT - RIGHT) * right, 1),
            round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most, 1),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">From a push to its key being durable (ms)</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end">connected hosts</text>',
    ]
    for step in range(6):
        _, y = at(10**low, most * step / 5)
        parts += [
            f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>',
            f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{most * step / 5:g}</text>',
        ]
    for power in range(low, high + 1):
        x, _ = at(10**power, 0)
        parts.append(
            f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10**power:,}</text>'
        )
    for number, (name, colour, words) in enumerate(SERIES):
        places = [at(point["hosts"], point[name]) for point in points]
        line = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(
            f'<text x="{LEFT + 10}" y="{TOP + 4 + 16 * number}" fill="{colour}">{words}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
