"""Every plain method of the daemon as a typed function that builds the request; the two clients only carry it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from nexusd_protocols.rpc import schema

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Ask(Generic[R_co]):
    """A request that has not been sent. `result` is what its answer is decoded into."""

    method: str
    params: schema.Params
    result: type[R_co]


def status() -> Ask[schema.NodeStatus]:
    """What the daemon is and does."""
    return Ask("node.status", schema.Empty(), schema.NodeStatus)


def shutdown() -> Ask[schema.Done]:
    """Drain and stop the daemon."""
    return Ask("node.shutdown", schema.Empty(), schema.Done)


def config() -> Ask[schema.ConfigShow]:
    """Every setting, and where it came from."""
    return Ask("config.show", schema.Empty(), schema.ConfigShow)


def discover() -> Ask[schema.OpenRpcDocument]:
    """The interface as an OpenRPC document."""
    return Ask("rpc.discover", schema.Empty(), schema.OpenRpcDocument)


def peers_list(*, connected: bool = False, blocked: bool = False, banned: bool = False) -> Ask[schema.PeersList]:
    """Peers seen."""
    params = schema.PeersListParams(connected=connected, blocked=blocked, banned=banned)
    return Ask("peers.list", params, schema.PeersList)


def peers_connect(address: str) -> Ask[schema.Peer]:
    """Dial a multiaddr that ends in /p2p/<peer id>."""
    return Ask("peers.connect", schema.PeersConnectParams(address=address), schema.Peer)


def peers_block(peer: str, reason: str | None = None) -> Ask[schema.Done]:
    """Refuse everything from a peer."""
    return Ask("peers.block", schema.PeersBlockParams(peer=peer, reason=reason), schema.Done)


def peers_unblock(peer: str) -> Ask[schema.Done]:
    """Allow a blocked peer again."""
    return Ask("peers.unblock", schema.PeersUnblockParams(peer=peer), schema.Done)


def peers_ban(peer: str, duration_ms: int = 3_600_000, reason: str | None = None) -> Ask[schema.Done]:
    """Refuse everything from a peer for a time."""
    return Ask("peers.ban", schema.PeersBanParams(peer=peer, duration_ms=duration_ms, reason=reason), schema.Done)


def peers_unban(peer: str) -> Ask[schema.Done]:
    """End a peer's ban now."""
    return Ask("peers.unban", schema.PeersUnbanParams(peer=peer), schema.Done)


def profile_get(*, agent: str | None = None) -> Ask[schema.Profile]:
    """What an agent tells others of itself."""
    return Ask("profile.get", schema.ProfileGetParams(agent=agent), schema.Profile)


def profile_set(
    *,
    display_name: str | None = None,
    description: str | None = None,
    agent_type: Literal["autonomous", "assistant", "tool", "infrastructure"] | None = None,
    agent: str | None = None,
) -> Ask[schema.Profile]:
    """Change it; what is left out stays."""
    params = schema.ProfileSetParams(
        display_name=display_name, description=description, agent_type=agent_type, agent=agent
    )
    return Ask("profile.set", params, schema.Profile)


def room_join(room: str, *, agent: str | None = None) -> Ask[schema.Room]:
    """Join a room."""
    return Ask("room.join", schema.RoomParams(room=room, agent=agent), schema.Room)


def room_leave(room: str, *, agent: str | None = None) -> Ask[schema.Done]:
    """Leave a room."""
    return Ask("room.leave", schema.RoomParams(room=room, agent=agent), schema.Done)


def room_list(*, agent: str | None = None) -> Ask[schema.RoomsList]:
    """Rooms that were joined."""
    return Ask("room.list", schema.ProfileGetParams(agent=agent), schema.RoomsList)


def room_send(
    room: str,
    content: str,
    *,
    format: schema.Format = "text/plain",  # noqa: A002 - the field's name on the wire
    reply_to: str | None = None,
    thread_id: str | None = None,
    references: Sequence[str] = (),
    anyway: bool = False,
    agent: str | None = None,
) -> Ask[schema.RoomSent]:
    """Say something to a room."""
    params = schema.RoomSendParams(
        room=room,
        content=content,
        format=format,
        reply_to=reply_to,
        thread_id=thread_id,
        references=list(references),
        anyway=anyway,
        agent=agent,
    )
    return Ask("room.send", params, schema.RoomSent)


def room_history(
    room: str, *, after: int | None = None, before: int | None = None, limit: int = 50, agent: str | None = None
) -> Ask[schema.RoomHistory]:
    """A page of what was said in a room."""
    params = schema.RoomHistoryParams(room=room, after=after, before=before, limit=limit, agent=agent)
    return Ask("room.history", params, schema.RoomHistory)


def room_members(room: str, *, agent: str | None = None) -> Ask[schema.RoomMembers]:
    """Who is in a room."""
    return Ask("room.members", schema.RoomParams(room=room, agent=agent), schema.RoomMembers)


def dm_send(
    peer: str,
    content: str,
    *,
    format: schema.Format = "text/plain",  # noqa: A002 - the field's name on the wire
    anyway: bool = False,
    agent: str | None = None,
) -> Ask[schema.DmSent]:
    """Send a direct message."""
    params = schema.DmSendParams(peer=peer, content=content, format=format, anyway=anyway, agent=agent)
    return Ask("dm.send", params, schema.DmSent)


def dm_list(
    peer: str | None = None,
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int = 50,
    agent: str | None = None,
) -> Ask[schema.DmList]:
    """A page of direct messages."""
    params = schema.DmListParams(peer=peer, after=after, before=before, limit=limit, agent=agent)
    return Ask("dm.list", params, schema.DmList)


def capability_list(peer: str | None = None, *, agent: str | None = None) -> Ask[schema.CapabilityList]:
    """What a peer, or this daemon, can do."""
    return Ask("capability.list", schema.CapabilityListParams(peer=peer, agent=agent), schema.CapabilityList)


def capability_remove(name: str, *, agent: str | None = None) -> Ask[schema.Done]:
    """Stop serving a capability."""
    return Ask("capability.unregister", schema.CapabilityNameParams(name=name, agent=agent), schema.Done)


def capability_command(
    name: str,
    argv: Sequence[str],
    *,
    cwd: str,
    jsonl: bool = False,
    description: str = "",
    max_concurrent: int = 4,
    timeout_ms: int = 600_000,
    agent: str | None = None,
) -> Ask[schema.Capability]:
    """Let the daemon run a command for each call; kept over restarts."""
    params = schema.CapabilityServeParams(
        name=name,
        command=schema.CommandSpec(argv=list(argv), cwd=cwd, jsonl=jsonl),
        description=description,
        max_concurrent=max_concurrent,
        timeout_ms=timeout_ms,
        agent=agent,
    )
    return Ask("capability.serve", params, schema.Capability)
