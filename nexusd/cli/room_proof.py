"""room sync and verify: that what is here is all there is, and all true."""

from __future__ import annotations

from nexusd.cli.outcome import Answer
from nexusd.cli.session import call
from nexusd.cli.terminal import clean, clock, duration, pairs, short, table, who
from nexusd_protocols.history.bounds import HISTORY_EPOCH_MS
from nexusd_protocols.rpc.schema import RoomAgreement, RoomFault, RoomSynced, RoomSyncedPeer, RoomVerified


def sync(room: str, /) -> Answer[RoomSynced]:
    """Sync. This happens by itself too: on joining, when peers come, and about once a minute.

    Parameters
    ----------
    room
        A room that was joined or is mirrored.
    """
    return Answer(call("room.sync", room=room), _synced)


def verify(room: str, /, *, peers: int = 3) -> Answer[RoomVerified]:
    """Verify. Exit code 1 if anything is wrong here, or a member holds something else. A message that the disk has
    damaged is had again from a member that has it.

    Parameters
    ----------
    room
        A room that was joined or is mirrored.
    peers
        How many members are asked whether they hold the same, 16 at most.
    """
    found = call("room.verify", room=room, peers=peers)
    return Answer(found, _verified, exit_code=0 if found.sound and found.agreed else 1)


def _some(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _synced(found: RoomSynced) -> str:
    if not found.peers:
        return "nobody is there"
    return "\n".join(f"{who(each.peer, each.peer_name)}: {_exchanged(each)}" for each in found.peers)


def _exchanged(each: RoomSyncedPeer) -> str:
    if each.error is not None:
        return clean(each.error)
    return "nothing new" if not each.received and not each.sent else f"{each.received} received, {each.sent} sent"


def _verified(found: RoomVerified) -> str:
    rows = [
        ("room", found.room),
        ("messages", f"{found.messages}, each signed by its author" if not found.fault_count else str(found.messages)),
        ("history", f"{_some(found.batches, 'batch', 'batches')} in {_some(found.days, 'day', 'days')}"),
        ("head", found.head or "none yet: an hour is sealed ten minutes after its end"),
        ("took", duration(found.duration_ms)),
    ]
    parts = [pairs(rows)]
    if found.peers:
        parts.append(
            table(["PEER", "NAME", "HOLDS", "MESSAGES", "SINCE", "NEW TO US"], map(_row, found.peers), empty="")
        )
    if found.mended:
        were = _some(found.mended, "message was", "messages were")
        parts.append(f"{were} damaged on this disk, and had again from members")
    if found.faults:
        parts.append("\n".join(map(_fault, found.faults)))
    if not found.sound:
        parts.append(f"NOT SOUND: {found.fault_count} fault{'s' * (found.fault_count != 1)}")
    elif not found.agreed:
        parts.append("sound here, and a member holds something else")
    else:
        equal = sum(peer.outcome == "equal" for peer in found.peers)
        parts.append(
            f"sound, and the same at {equal} of {len(found.peers)} asked" if found.peers else "sound; nobody was asked"
        )
    return "\n\n".join(parts)


def _row(peer: RoomAgreement) -> list[str]:
    holds = {"equal": "the same", "differs": "SOMETHING ELSE", "no_answer": "no answer"}[peer.outcome]
    return [
        short(peer.peer),
        peer.peer_name or "",
        f"{holds}: {peer.detail}" if peer.detail else holds,
        str(peer.messages),
        _since(peer.since),
        str(peer.received),
    ]


def _since(moment: int) -> str:
    """From when on was compared. Where neither side forgets anything that is all there is, and no date."""
    if not moment:
        return ""
    return "the beginning" if moment == HISTORY_EPOCH_MS else clock(moment)


def _fault(fault: RoomFault) -> str:
    return f"{fault.what} {clean(fault.name)}: {clean(fault.reason)}"
