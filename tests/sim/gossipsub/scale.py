"""What a node has to do, against how large the network is: it should depend on D, and not on the size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nexusd_protocols.gossipsub.params import Params
from tests.sim.gossipsub.honest import Honest
from tests.sim.gossipsub.network import Network
from tests.sim.gossipsub.outcome import Watch
from tests.sim.gossipsub.scenarios import HONEST_DEGREE

SIZES: Final = (10, 30, 100, 300, 1000, 3000, 10_000)
SETTLE: Final = 15.0
SECONDS: Final = 10.0
RATE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """Of one node, on average. `copies` of a message received; `rpcs` received a second while RATE messages a second
    are said in all, control and gossip among them; `p99` of delivery in milliseconds."""

    size: int
    heard: float
    copies: float
    rpcs: float
    p99: float


def measure(size: int, seed: int) -> Load:
    """A room of so many members, each connected with HONEST_DEGREE others, who talk for SECONDS."""
    network = Network(seed)
    watch = Watch(network)
    hosts = [
        Honest(network, f"h{n}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", Params(), watch.heard) for n in range(size)
    ]
    for host in hosts:
        network.add(host)
    for host in hosts:
        for other in network.random.sample(hosts, min(HONEST_DEGREE // 2, size)):
            network.connect(host.name, other.name)
    network.run(until=SETTLE)
    before = network.sent
    for number in range(round(SECONDS * RATE)):
        network.at(SETTLE + number / RATE, watch.publish, network.random.choice(hosts), number, 256)
    network.run(until=SETTLE + SECONDS)
    rpcs = (network.sent - before) / size / SECONDS
    network.run(until=SETTLE + SECONDS + 5)
    outcome = watch.outcome(hosts, "")
    return Load(size, outcome.in_time, outcome.copies, rpcs, outcome.p99 * 1e3)


def plot(loads: Sequence[Load]) -> str:
    """The loads as an SVG picture: RPCs a second and copies of a message, against the size on a logarithmic scale."""
    width, height, left, bottom = 640, 320, 56, 40
    top = max(10.0, *(max(load.rpcs, load.copies) for load in loads)) * 1.1

    def x(index: int) -> float:
        return left + index * (width - left - 24) / (len(loads) - 1)

    def y(value: float) -> float:
        return height - bottom - value / top * (height - bottom - 24)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"',
        ' font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for step in range(6):
        value = top * step / 5
        parts.append(f'<line x1="{left}" x2="{width - 24}" y1="{y(value):.0f}" y2="{y(value):.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4:.0f}" text-anchor="end">{value:.0f}</text>')
    for index, load in enumerate(loads):
        parts.append(f'<text x="{x(index):.0f}" y="{height - bottom + 18}" text-anchor="middle">{load.size:,}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">members of the room</text>')
    lines = (
        ("RPCs a node receives a second", "#06c", [load.rpcs for load in loads]),
        ("copies of a message a node receives", "#c60", [load.copies for load in loads]),
    )
    for number, (title, colour, values) in enumerate(lines):
        points = " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + 12}" y="{20 + 16 * number}" fill="{colour}">{title}</text>')
    return "\n".join([*parts, "</svg>", ""])
