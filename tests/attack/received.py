"""The direct messages that a daemon has."""

from __future__ import annotations

from nexusd.client import Nexus


def ids(nexus: Nexus) -> list[str]:
    found: list[str] = []
    after = 0
    while True:
        page = nexus.call("dm.list", {"after": after, "limit": 500})
        found += [row.message_id for row in page.messages if row.direction == "in"]
        if not page.more:
            return found
        after = page.last
