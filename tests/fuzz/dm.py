"""Both ends of a direct message. The first byte picks the end and where the rest is split."""

from __future__ import annotations

from nexusd_protocols.dm.receiver import Ack, DmReceiver
from nexusd_protocols.dm.sender import DmSender, Message
from tests.harness.people import ALICE, BOB, CAROL
from tests.harness.stream_vectors import outcome


def _sender() -> DmSender:
    machine = DmSender(ALICE.peer_id, BOB.peer_id)
    machine.send(Message(message_id="m1", content="hi"))
    return machine


_MESSAGES = [
    DmSender(ALICE.peer_id, BOB.peer_id).send(Message(message_id="m1", content="hi", author=author, to_agent=to_agent))
    for author in (None, CAROL)
    for to_agent in (None, BOB.peer_id)
]

SEEDS = [
    *(b"\x00" + text for text in _MESSAGES),
    b"\x00" + _MESSAGES[0] * 2,
    b'\x01{"type":"dm.ack","version":1,"messageId":"m1"}\n',
    b'\x01{"type":"dm.error","version":1,"messageId":"m1","code":"BUSY","message":"later"}\n',
]


def target(data: bytes) -> None:
    """Accept, or raise RemoteProtocolError once; then nothing more."""
    if not data:
        return
    machine = _sender() if data[0] % 2 else DmReceiver(BOB.peer_id, ALICE.peer_id)
    body = data[1:]
    half = data[0] * len(body) // 256
    events, error = outcome(machine, [body[:half], body[half:]], eof=True)
    if error is not None:
        assert error.code
        assert error.reply.count(b"\n") <= 1
        assert machine.receive(body) == []
        return
    assert len(events) <= 1
    if events and isinstance(machine, DmReceiver):
        assert machine.send(Ack())
