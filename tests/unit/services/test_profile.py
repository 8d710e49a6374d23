"""What an agent says of itself: kept, told, and changed by two at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from nexusd.agents import Agents
from nexusd.services.profile import Profiles
from nexusd_protocols.identity import AgentId
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import ProfileGetParams, ProfileSetParams
from tests.harness.nodes import signer

ALICE = AgentId(signer("alice").peer_id)


class MemorySettings:
    """The store's settings without a disk; each write takes a while."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.fault: Exception | None = None

    async def get(self, key: str) -> str | None:
        return self.values.get(key)

    async def set(self, key: str, value: str) -> None:
        await trio.testing.wait_all_tasks_blocked()
        if self.fault is not None:
            raise self.fault
        self.values[key] = value


async def profiles_on(settings: MemorySettings) -> Profiles:
    store: Any = SimpleNamespace(settings=settings)
    profiles = Profiles(Agents(signer("alice")), store, "autonomous")
    await profiles.load()
    return profiles


async def test_at_first_the_name_is_the_end_of_the_id() -> None:
    profiles = await profiles_on(MemorySettings())
    assert profiles.shown_name(ALICE) == f"agent-{ALICE[-8:]}"
    profile = profiles.of(ALICE)
    assert (profile.display_name, profile.description, profile.agent_type) == ("", "", "autonomous")


async def test_what_is_not_given_stays_and_all_of_it_survives() -> None:
    settings = MemorySettings()
    profiles = await profiles_on(settings)
    await profiles.set(ProfileSetParams(display_name="Alice"))
    await profiles.set(ProfileSetParams(description="translates", agent_type="tool"))
    await profiles.set(ProfileSetParams(description=""))
    for each in (profiles, await profiles_on(settings)):
        profile = await each.get(ProfileGetParams())
        assert not isinstance(profile, Refusal)
        assert (profile.display_name, profile.description, profile.agent_type) == ("Alice", "", "tool")
        assert each.shown_name(ALICE) == "Alice"


async def test_two_who_change_it_at_once_both_have_their_way() -> None:
    settings = MemorySettings()
    profiles = await profiles_on(settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(profiles.set, ProfileSetParams(display_name="Alice"))
        nursery.start_soon(profiles.set, ProfileSetParams(description="translates"))
    for each in (profiles, await profiles_on(settings)):
        profile = each.of(ALICE)
        assert (profile.display_name, profile.description) == ("Alice", "translates")


async def test_others_are_told_once_it_is_on_disk() -> None:
    settings = MemorySettings()
    profiles = await profiles_on(settings)
    told: list[tuple[AgentId, str, int]] = []

    async def tell(agent: AgentId) -> None:
        told.append((agent, profiles.shown_name(agent), len(settings.values)))

    profiles.on_change(tell)
    await profiles.set(ProfileSetParams(display_name="Alice"))
    assert told == [(ALICE, "Alice", 1)]
    settings.fault = OSError("full")
    with pytest.raises(OSError, match="full"):
        await profiles.set(ProfileSetParams(display_name="Bob"))
    assert profiles.shown_name(ALICE) == "Alice"
    assert len(told) == 1


async def test_an_agent_that_does_not_live_here() -> None:
    profiles = await profiles_on(MemorySettings())
    stranger = str(signer("mallory").peer_id)
    for answer in (
        await profiles.get(ProfileGetParams(agent=stranger)),
        await profiles.set(ProfileSetParams(agent=stranger, display_name="x")),
    ):
        assert isinstance(answer, Refusal)
