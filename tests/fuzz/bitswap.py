"""Bitswap: any bytes on a stream are messages or refused; any messages, of several peers, at any time, leave both
machines in order and within bounds.

The input is a row of steps: an octet that says who and what, two of length, and messages or a number.
"""

from __future__ import annotations

import struct

from nexusd_protocols import limits
from nexusd_protocols.bitswap.client import Client
from nexusd_protocols.bitswap.events import (
    Arrived,
    Ask,
    Broken,
    Close,
    Fetch,
    Fetched,
    Forget,
    Got,
    Heard,
    Joined,
    Left,
    Look,
    Missing,
    Need,
    Open,
    Send,
    Sent,
    SessionId,
    Sized,
    Tick,
)
from nexusd_protocols.bitswap.message import Message, MessageStream, Want, decode, encode
from nexusd_protocols.bitswap.server import Server
from nexusd_protocols.errors import RemoteProtocolError
from tests.harness.bitswap import block, cid_of, data_of, wants
from tests.harness.people import ALICE, BOB, CAROL, MALLORY
from tests.harness.vectors import vectors

_PEERS = [person.peer_id for person in (ALICE, BOB, CAROL, MALLORY)]
_SIZES = {cid_of(number).digest: (None, 0, 40, 2000, limits.BITSWAP_TURN_BYTES)[number % 5] for number in range(40)}
# small enough for the bounds to be reached
_SENDING, _WANTS, _PEER_WANTS = 4000, 30, 12


def _step(who: int, what: int, body: bytes) -> bytes:
    return bytes([who | what << 2]) + struct.pack(">H", len(body)) + body


def _said(who: int, *messages: Message) -> bytes:
    return _step(who, 0, b"".join(MessageStream().send(message) for message in messages))


_VECTORS = vectors("bitswap")
SEEDS = [
    *(_step(1, 0, bytes.fromhex(row["wire"])) for rows in ("messages", "read", "refused") for row in _VECTORS[rows]),
    _said(0, wants(*map(cid_of, range(20)))) + _said(1, wants(*map(cid_of, range(20)))) + _step(0, 5, b"\x03"),
    _said(0, Message(wants=(Want(cid_of(1)), Want(cid_of(2))), full=True), Message(cancels=(cid_of(1),)))
    + _step(0, 1, b"\x00"),
    b"".join(_step(number % 4, 3, bytes([number])) for number in range(12))
    + _said(2, Message(blocks=(block(3), block(4)), haves=(cid_of(5),), lacks=(cid_of(6), cid_of(7))))
    + _step(0, 2, b"\x20") * 4
    + _said(3, Message(haves=(cid_of(8),)), Message(lacks=(cid_of(8),)))
    + _step(2, 1, b"\x00")
    + _step(0, 2, b"\xff"),
]


class _Node:
    """Both machines, and what they may not do."""

    def __init__(self) -> None:
        self.now = 0.0
        self.server = Server(sending_bytes=_SENDING, wants=_WANTS, peer_wants=_PEER_WANTS)
        self.client = Client()
        self.under_way: dict[str, object] = {}
        self.open: set[SessionId] = set()
        self.needed: dict[SessionId, set[bytes]] = {}

    def serve(self, event) -> None:
        for output in self.server.handle(event, self.now):
            assert output.peer not in self.under_way, "two things at once for one peer"
            self.under_way[output.peer] = output
            if isinstance(output, Send):
                self.check(output.message)
        assert self.server.wants <= _WANTS + len(_PEERS) * _PEER_WANTS
        assert self.server.held <= max(2 * _SENDING, limits.BITSWAP_TURN_BYTES)

    def answer(self, peer, number: int) -> None:
        match self.under_way.pop(peer, None):
            case Look(_, cids):
                self.serve(Sized(peer, tuple(_SIZES.get(cid.digest) for cid in cids)))
            case Fetch(_, cids):
                self.serve(Fetched(peer, tuple(None if number & 1 else data_of(1) for _ in cids)))
            case Send():
                self.serve(Sent(peer))

    def ask(self, event) -> None:
        for output in self.client.handle(event, self.now):
            match output:
                case Send(_, message):
                    assert not message.blocks
                    self.check(message)
                case Got(session, cid, data):
                    assert cid.verifies(data)
                    self.needed[session].remove(cid.digest)
                case Missing(session, cid):
                    self.needed[session].remove(cid.digest)
        assert self.client.deadline() > self.now or isinstance(event, Tick) is False

    def check(self, message: Message) -> None:
        assert message.entries or message.full
        # what is read of another hash function is read otherwise than it is written
        if not message.foreign:
            assert decode(encode(message)) == message

    def hear(self, peer, body: bytes) -> None:
        stream = MessageStream()
        try:
            messages = stream.receive(body)
            stream.receive_eof()
        except RemoteProtocolError:
            return
        for message in messages:
            if not message.foreign and not message.strays:
                assert decode(encode(message)) == message
            self.ask(Heard(peer, message))
            self.serve(Heard(peer, message))

    def step(self, who: int, what: int, body: bytes) -> None:
        peer = _PEERS[who]
        number = body[0] if body else 0
        session = SessionId(who % 2)
        if what == 0:
            self.hear(peer, body)
        elif what == 1:
            self.under_way.pop(peer, None)
            self.serve(Left(peer))
            self.ask((Left, Joined, Broken)[number % 3](peer))
        elif what == 2:
            self.now += number * number / 256
            self.ask(Tick())
        elif what == 3:
            self.want(session, number)
        elif what == 4 and session in self.open:
            cid = cid_of(number % 40)
            self.needed[session].discard(cid.digest)
            self.ask(Forget(session, cid))
        elif what == 5:
            self.answer(peer, number)
        elif what == 6:
            self.serve(Arrived((cid_of(number % 40),)))
        elif what == 7 and session in self.open:
            self.open.remove(session)
            self.ask(Close(session))

    def want(self, session: SessionId, number: int) -> None:
        if session not in self.open:
            self.open.add(session)
            self.needed[session] = set()
            self.ask(Open(session))
            self.ask(Ask(session, tuple(_PEERS[: number % 5])))
        cid = cid_of(number % 40)
        if len(self.needed[session] | {cid.digest}) <= limits.BITSWAP_UNDER_WAY:
            self.needed[session].add(cid.digest)
            self.ask(Need(session, cid))


def target(data: bytes) -> None:
    """Run the steps."""
    node = _Node()
    at = 0
    while at + 3 <= len(data) and at < 16_384:
        head, length = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        node.step(head & 3, (head >> 2) & 7, data[at + 3 : at + 3 + length])
        at += 3 + length
