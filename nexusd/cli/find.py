"""find: agents, rooms and capabilities, through the DHT. What is found is others' own word."""

from __future__ import annotations

from cyclopts import App

from nexusd.cli import summaries
from nexusd.cli.outcome import Answer
from nexusd.cli.prices import cost, lines
from nexusd.cli.session import call
from nexusd.cli.terminal import ago, clean, clock, duration, pairs, short, size, table
from nexusd_protocols.rpc.schema import AgentFound, CapabilityFound, FoundMember, FoundStorage, RoomFound

app = App(name="find", help="Find agents, rooms and capabilities.", help_format="plaintext")


@app.command(help=summaries.of("find.agent", "nexus find agent 9fKq2LmX"))
def agent(peer: str, /) -> Answer[AgentFound]:
    """Find an agent.

    Parameters
    ----------
    peer
        Its id, or the last 6 characters or more of one that is known.
    """
    return Answer(call("find.agent", peer=peer), _agent)


@app.command(help=summaries.of("find.room", "nexus find room lab"))
def room(room: str, /, *, limit: int | None = None) -> Answer[RoomFound]:
    """Find a room.

    Parameters
    ----------
    room
        The room, whether it was joined or not.
    limit
        Members at most (default: 20).
    """
    found: RoomFound = call("find.room", room=room, limit=limit)
    left_out = _left_out((found.unproven, "unproven"))
    return Answer(found, _room, f"{left_out} (named by others, without a signed pointer)" if left_out else "")


@app.command(help=summaries.of("find.capability", "nexus find capability upper"))
def capability(name: str, /, *, limit: int | None = None) -> Answer[CapabilityFound]:
    """Find a capability.

    Parameters
    ----------
    name
        The name that it is called by.
    limit
        Providers at most (default: 20).
    """
    found: CapabilityFound = call("find.capability", name=name, limit=limit)
    left_out = _left_out(
        (found.unreachable, "unreachable"), (found.unavailable, "unavailable"), (found.unproven, "unproven")
    )
    return Answer(found, _capability, left_out)


def _left_out(*counts: tuple[int, str]) -> str:
    words = [f"{count} {word}" for count, word in counts if count]
    return f"left out: {', '.join(words)}" if words else ""


def _agent(found: AgentFound) -> str:
    profile = found.profile
    rows = [("peer id", found.peer_id)]
    if profile is not None:
        rows += [
            ("name", profile.name or "none"),
            ("type", profile.agent_type or "unknown"),
            ("role", profile.role),
            ("about", profile.description or "nothing said"),
            ("can", ", ".join(profile.capabilities) or "nothing said"),
        ]
    if found.storage is not None:
        rows += _storage(found.storage)
    if found.pointer is not None:
        rows.append(("published", f"{ago(found.pointer.issued_at)}, holds until {clock(found.pointer.expires_at)}"))
    if found.missing:
        rows.append(("profile", f"none: {found.missing}"))
    rows.append(("state", "this node" if found.here else "connected" if found.connected else "not connected"))
    addresses = found.addresses or ["none is known"]
    rows += [("address" if at == 0 else "", address) for at, address in enumerate(addresses)]
    return pairs(rows)


def _storage(offered: FoundStorage) -> list[tuple[str, str]]:
    rooms = ", ".join(f"{each.room} ({each.retention})" for each in offered.rooms) or "no room yet"
    what = "up to" if offered.references else "no files of messages; up to"
    return [
        ("keeps", f"for others: {rooms}"),
        ("", f"{what} {size(offered.total_bytes)}, {size(offered.room_bytes)} of one room"),
    ]


def _room(found: RoomFound) -> str:
    rows = [
        [
            short(each.peer_id),
            each.name or "",
            _state(each),
            ago(each.pointer.issued_at),
            "" if each.members is None else str(each.members),
            each.checkpoint.cid if each.checkpoint else "none",
            each.description or (f"({each.missing})" if each.missing else ""),
        ]
        for each in found.members
    ]
    header = ["MEMBER", "NAME", "STATE", "SAID", "SEES", "HISTORY", "DESCRIPTION"]
    room = clean(found.room)
    return table(header, rows, empty=f"nobody has published that it is in {room}; `nexus room join {room}` begins it")


def _capability(found: CapabilityFound) -> str:
    rows: list[list[str]] = []
    for each in found.providers:
        row = [
            short(each.peer_id),
            each.name or "",
            "yes" if each.confirmed else "unconfirmed",
            "?" if each.max_input_bytes is None else size(each.max_input_bytes),
            "?" if each.max_duration_ms is None else duration(each.max_duration_ms),
            each.rate_limit or "?",
            "?" if each.queue_ms is None else f"{each.queue_ms / 1000:.1f} s" if each.queue_ms else "none",
            ago(each.pointer.issued_at) if each.pointer else each.source,
            each.description,
        ]
        rows += lines(row, 3, cost(each.prices, free=each.free))
    header = [
        "PROVIDER",
        "NAME",
        "AVAILABLE",
        "PRICE",
        "INPUT MAX",
        "TIME MAX",
        "RATE",
        "QUEUE",
        "SAID",
        "DESCRIPTION",
    ]
    return table(header, rows, empty=f"nobody was found who offers {clean(found.name)} now")


def _state(member: FoundMember) -> str:
    return "this node" if member.here else "connected" if member.connected else "not connected"
