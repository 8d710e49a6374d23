"""Deny, then allow; names and beginnings of names."""

from __future__ import annotations

import pytest

from nexusd.services.policy.lists import TrustList


@pytest.mark.parametrize(
    ("deny", "allow", "name", "rule"),
    [
        ((), (), "anything", None),
        (("spam",), (), "spam", "deny"),
        (("spam",), (), "spam-2", None),
        (("spam*",), (), "spam-2", "deny"),
        (("spam*",), (), "spam", "deny"),
        (("spam*",), (), "no-spam", None),
        ((), ("work*", "lobby"), "workshop", None),
        ((), ("work*", "lobby"), "lobby", None),
        ((), ("work*", "lobby"), "lobby-2", "allow"),
        (("work-secret",), ("work*",), "work-secret", "deny"),
        (("*",), (), "x", "deny"),
        (("*",), ("x",), "x", "deny"),
        ((), ("*",), "x", None),
    ],
)
def test_what_is_refused(deny: tuple[str, ...], allow: tuple[str, ...], name: str, rule: str | None) -> None:
    assert TrustList(deny, allow).refuses(name) == rule
