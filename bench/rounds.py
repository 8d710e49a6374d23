"""Rounds in which each of several is measured in turn, with another one first each time."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from bench.load import DISTURBED, Neighbours

Found = dict[str, dict[str, list[float]]]
"""By figure and by who was measured: a value a round."""


def in_turn(
    names: Sequence[str], rounds: int, measure: Callable[[str], Mapping[str, float]], *, what: str = ""
) -> tuple[Found, list[str]]:
    """What was measured, and the turns that other processes disturbed. `what` goes before the number of a round."""
    found: Found = defaultdict(lambda: defaultdict(list))
    disturbed = []
    for index in range(rounds):
        first = index % len(names)
        for name in (*names[first:], *names[:first]):
            print(f"bench: {what}round {index + 1} of {rounds}, {name}", file=sys.stderr, flush=True)
            with Neighbours() as neighbours:
                sample = measure(name)
            if neighbours.share > DISTURBED:
                disturbed.append(f"{name} in round {index + 1} ({neighbours.share:.2f})")
            for key, value in sample.items():
                found[key][name].append(value)
    return found, disturbed


def disturbance(disturbed: Sequence[str]) -> str:
    """A warning for a reader of the figures."""
    return f"Other processes took more than {DISTURBED:.0%} of a core beside: {', '.join(disturbed)}."
