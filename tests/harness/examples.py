"""How many examples a property is tried on."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> int:
    """`count` of them, and in `make check` so much fewer as its profile says of those that name no number."""
    return max(2, count * settings().max_examples // settings.get_profile("full").max_examples)
