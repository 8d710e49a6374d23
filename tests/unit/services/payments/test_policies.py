"""What an agent may pay, changed by two at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio

from nexusd.services.payments.policies import Policies
from nexusd_protocols.identity import AgentId
from nexusd_protocols.rpc import schema
from tests.harness.nodes import signer

ALICE = AgentId(signer("alice").peer_id)


class SlowSettings:
    """The store's settings without a disk; each write takes a while."""

    def __init__(self) -> None:
        self.values: dict[tuple[AgentId, str], str] = {}

    async def get(self, key: str, *, agent: AgentId) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.values.get((agent, key))

    async def set(self, key: str, value: str, *, agent: AgentId) -> None:
        await trio.testing.wait_all_tasks_blocked()
        self.values[agent, key] = value


async def test_of_two_changes_at_once_both_are_kept() -> None:
    store: Any = SimpleNamespace(settings=SlowSettings())
    policies = Policies(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(policies.change, ALICE, schema.PayPolicySetParams(per_day="1"), None)
        nursery.start_soon(policies.change, ALICE, schema.PayPolicySetParams(networks=["base"]), None)
    kept = await policies.kept(ALICE)
    assert (kept.per_day, kept.networks) == (1_000_000, ("eip155:8453",))
