"""How many examples are tried: in `make check`, and in all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings


def examples(count: int) -> int:
    """`count` of them, and in `make check` so much fewer as its profile says of those that name no number."""
    return max(2, count * settings().max_examples // settings.get_profile("full").max_examples)


def first(count: int, values: Iterable[Any]) -> list[Any]:
    """Values for `parametrize`, of which `make check` takes only so many."""
    return [value if at < count else pytest.param(value, marks=pytest.mark.slow) for at, value in enumerate(values)]
