"""Randomness, as the router is handed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Chance(Protocol):
    """What a router needs of `random.Random`. Seed one for a simulation; take an unpredictable one for the network."""

    def random(self) -> float: ...

    def sample(self, population: Sequence[T], k: int) -> list[T]: ...

    def shuffle(self, x: list[T]) -> None: ...


def some(chance: Chance, population: Sequence[T], count: int) -> list[T]:
    """So many at random, or all if there are no more."""
    return chance.sample(population, min(count, len(population)))
