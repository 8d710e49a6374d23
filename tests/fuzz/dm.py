"""Both ends of a direct message, one on a stream and many. The first byte picks the end and where the rest is split."""

from __future__ import annotations

from nexusd_protocols.dm.many_receiver import Answer, ManyReceiver
from nexusd_protocols.dm.many_sender import ManySender
from nexusd_protocols.dm.receiver import Ack, DmReceiver
from nexusd_protocols.dm.sender import DmSender, Message
from tests.fuzz.inputs import halves
from tests.harness.people import ALICE, BOB, CAROL
from tests.harness.stream_vectors import outcome


def _sender() -> DmSender:
    machine = DmSender(ALICE.peer_id, BOB.peer_id)
    machine.send(Message(message_id="m1", content="hi"))
    return machine


def _many_sender() -> ManySender:
    machine = ManySender(ALICE.peer_id, BOB.peer_id)
    machine.send(Message(message_id="m1", content="hi"))
    machine.send(Message(message_id="m2", content="ho"))
    return machine


_MACHINES = (
    lambda: DmReceiver(BOB.peer_id, ALICE.peer_id),
    _sender,
    lambda: ManyReceiver(BOB.peer_id, ALICE.peer_id),
    _many_sender,
)
_ANSWERS = b"".join(
    b'{"type":"dm.%b","version":1,"messageId":"m%d"%b}\n' % words
    for words in ((b"ack", 2, b""), (b"error", 1, b',"code":"BUSY"'))
)
_MANY = ManySender(ALICE.peer_id, BOB.peer_id)
_STREAM = b"".join(_MANY.send(Message(message_id=f"m{n}", content="hi", author=CAROL)) for n in range(3))

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
    b"\x02" + _STREAM,
    b"\x02" + _STREAM * 2,
    b"\x03" + _ANSWERS,
]


def target(data: bytes) -> None:
    """Accept, or raise RemoteProtocolError once; then nothing more."""
    if not data:
        return
    machine = _MACHINES[data[0] % 4]()
    events, error = outcome(machine, halves(data), eof=True)
    if error is not None:
        assert error.code
        assert error.reply.count(b"\n") <= 1
        assert machine.receive(data[1:]) == []
        return
    if isinstance(machine, ManyReceiver):
        assert len(events) <= 32
        lines = machine.send([Answer(event.message_id) for event in events])
        assert lines.count(b"\n") == len(events)
        return
    if isinstance(machine, ManySender):
        assert 0 <= machine.unacknowledged <= 2
        return
    assert len(events) <= 1
    if events and isinstance(machine, DmReceiver):
        assert machine.send(Ack())
