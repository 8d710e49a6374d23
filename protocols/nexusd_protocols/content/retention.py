"""How long content is kept: five classes, as the published network names them."""

from __future__ import annotations

from typing import Final, Literal, get_args

RetentionClass = Literal["ephemeral", "cache", "retained", "mirrored", "archival"]
CLASSES: Final[tuple[RetentionClass, ...]] = get_args(RetentionClass)

_HOUR_MS: Final = 3_600_000
TTL_MS: Final[dict[RetentionClass, int | None]] = {
    "ephemeral": _HOUR_MS,
    "cache": 24 * _HOUR_MS,
    "retained": 7 * 24 * _HOUR_MS,
    "mirrored": 30 * 24 * _HOUR_MS,
    "archival": None,
}
"""Milliseconds; None is for ever."""


def expires_at(retention: RetentionClass, now: int) -> int:
    """When what is kept from `now` on in this class may go (unix milliseconds); 0: never."""
    ttl = TTL_MS[retention]
    return 0 if ttl is None else now + ttl
