"""Both ends of a handshake. The first byte picks the end and where the rest is split."""

from __future__ import annotations

from nexusd_protocols.handshake.answerer import Answer, Answerer
from nexusd_protocols.handshake.asker import Ask, Asker
from nexusd_protocols.handshake.frames import CapabilityStatus
from tests.fuzz.inputs import halves
from tests.harness.people import ALICE, BOB
from tests.harness.stream_vectors import outcome


def _asker() -> Asker:
    machine = Asker(ALICE.peer_id, BOB.peer_id)
    machine.send(Ask(request_id="r1"))
    return machine


def _answer() -> bytes:
    machine = Answerer(BOB.peer_id, ALICE.peer_id)
    machine.receive(_QUESTION)
    row = CapabilityStatus(name="upper", available=True, description="loud", free=True)
    return machine.send(Answer(agent_name="bob", roles=("full",), capabilities=(row,)))


_QUESTION = Asker(ALICE.peer_id, BOB.peer_id).send(Ask(request_id="r1", agent_name="alice", roles=("full",)))

SEEDS = [
    b"\x00" + _QUESTION,
    b"\x01" + _answer(),
    b'\x01{"type":"handshake.error","version":1,"requestId":"r1","code":"BUSY","message":"later"}\n',
]


def target(data: bytes) -> None:
    """Accept, or raise RemoteProtocolError once; then nothing more."""
    if not data:
        return
    machine = _asker() if data[0] % 2 else Answerer(BOB.peer_id, ALICE.peer_id)
    events, error = outcome(machine, halves(data), eof=True)
    if error is not None:
        assert error.code
        assert error.reply.count(b"\n") <= 1
        assert machine.receive(data[1:]) == []
        return
    assert len(events) <= 1
    if events and isinstance(machine, Answerer):
        assert machine.send(Answer())
