"""Targets by name, and inputs for them: seeds, and seeded mutations of the seeds; whole or in two pieces."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import tests.fuzz

_MACHINERY = {"__main__", "inputs", "worker"}

# what trips parsers: bounds of lengths, controls, halves of encodings, brackets
# fmt: off
_SPICE = (
    b"\x00", b"\x7f", b"\x80", b"\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\n", b"\r\n", b"\\", b'"',
    b"[" * 40, b'{"a":' * 40, b"]", b"}", b"NaN", b"-0", b"1e400", b"9" * 30, b"null", b"\xc3",
    b"\xed\xa0\x80", b"\\ud800",    b"\xe2\x80\xae", b"\x1b[2J", b'"version":2', b'"version":1,', b"/p2p/", b"dnsaddr=",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Target:
    """One module of this folder."""

    name: str
    run: Callable[[bytes], None]
    seeds: list[bytes]


def names() -> list[str]:
    """The names of all targets."""
    return sorted(module.name for module in pkgutil.iter_modules(tests.fuzz.__path__) if module.name not in _MACHINERY)


def load(name: str) -> Target:
    """Import one. Raises ImportError where there is none of this name."""
    module = importlib.import_module(f"tests.fuzz.{name}")
    return Target(name, module.target, list(module.SEEDS))


def halves(data: bytes) -> list[bytes]:
    """What is behind the first byte, cut where that byte says: as a stream may bring it."""
    body = data[1:]
    at = data[0] * len(body) // 256
    return [body[:at], body[at:]]


def mutations(seeds: list[bytes], seed: int) -> Iterator[bytes]:
    """Inputs without end, made from the seeds; the same for the same number."""
    rng = Random(seed)
    pool = seeds or [b""]
    while True:
        data = bytearray(rng.choice(pool))
        for _ in range(1 + rng.randrange(4)):
            _mutate(data, rng, pool)
        yield bytes(data[:100_000])


def _mutate(data: bytearray, rng: Random, pool: list[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 200)))
    match rng.randrange(8):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(data):
            data[at] = rng.randrange(256)
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = rng.choice(_SPICE)
        case 4:
            data[at:end] = rng.choice(_SPICE)
        case 5:
            data[at:at] = data[at:end] * rng.choice((1, 2, 30))
        case 6:
            other = rng.choice(pool)
            cut = rng.randrange(len(other) + 1)
            data[at:] = other[cut:]
        case _:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 8)))
