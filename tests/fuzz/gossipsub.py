"""GossipSub: any RPCs, of several peers, with any verdicts, at any time, leave the router in order and within bounds.

The input is a row of steps: an octet that says who and what, two of length, and an RPC or a number.
"""

from __future__ import annotations

import struct
from random import Random

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.gossipsub import codec
from nexusd_protocols.gossipsub.inputs import (
    ApplicationScore,
    Join,
    Leave,
    PeerJoined,
    PeerLeft,
    Publish,
    Received,
    Tick,
    Validated,
    Version,
)
from nexusd_protocols.gossipsub.outputs import Deliver, Send, Validate
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.router import GossipSub
from nexusd_protocols.gossipsub.rpc import Control, Graft, IDontWant, IHave, IWant, Prune, Rpc, Subscription
from nexusd_protocols.identity import Signer
from tests.harness.gossipsub import check_invariants, said, small
from tests.harness.people import ALICE, BOB, CAROL, MALLORY
from tests.harness.vectors import vectors

_TOPICS = ("/nexus/room/general", "é", "t")
_PEERS = [
    PeerJoined(ALICE.peer_id, Version.V1_2, outbound=True),
    PeerJoined(BOB.peer_id, Version.V1_1, address="192.0.2.1"),
    PeerJoined(CAROL.peer_id, Version.V1_0, direct=True),
    PeerJoined(MALLORY.peer_id, Version.FLOODSUB),
]
_ME = Signer(b"\x05" * 32).peer_id
_VERDICTS = ("accept", "ignore", "reject", "accept")
# small enough for the bounds to be reached
_PARAMS = Params(
    accept_px=True,
    do_px=True,
    max_idontwant_messages=3,
    bounds=small(
        peer_topics=3, topics_total=6, validations=3, seen_messages=8, cache_bytes=100, promises=2, backoffs=2, rivals=2
    ),
)


def _step(who: int, what: int, body: bytes) -> bytes:
    return bytes([who | what << 2]) + struct.pack(">H", len(body)) + body


def _rpc(who: int, **control: tuple[object, ...]) -> bytes:
    return _step(who, 0, codec.encode(Rpc(control=Control(**control))))


_T = _TOPICS[0]
SEEDS = [
    b"".join(
        _step(number % 4, 0, bytes.fromhex(row["encoded"])) for number, row in enumerate(vectors("gossipsub")["rpcs"])
    ),
    b"".join(
        _step(number % 4, 0, bytes.fromhex(row["encoded"])) for number, row in enumerate(vectors("gossipsub")["read"])
    ),
    _step(0, 0, codec.encode(Rpc(subscriptions=(Subscription(_T, True), Subscription("é", True)))))
    + _rpc(0, graft=(Graft(_T), Graft("é")))
    + _step(0, 2, b"\x05")
    + _rpc(0, prune=(Prune(_T, 1),))
    + _rpc(0, graft=(Graft(_T),) * 5)
    + _step(0, 2, b"\xff"),
    _rpc(
        1, ihave=(IHave(_T, (b"1", b"1", b"2")),), iwant=(IWant((b"1",) * 9),), idontwant=(IDontWant((b"1", b"2")),) * 6
    )
    + _step(1, 2, b"\x04") * 3,
    _step(1, 3, b"\x80") + _step(1, 2, b"\x01") + _step(1, 1, b"") + _step(2, 1, b"\x01") + _step(3, 1, b"\x01"),
    _step(0, 4, b"\x01") + _step(0, 5, b"\x01") + _step(0, 4, b"\x00") + _step(0, 5, b"\x00") + _step(0, 2, b"\x20"),
]


class _Network:
    """The router, and what it may not do."""

    def __init__(self) -> None:
        self.now = 0.0
        self.router = GossipSub(_ME, now=0.0, chance=Random(1), params=_PARAMS)
        self.heard: set[tuple[str, bytes]] = set()
        self.verdict = 0
        for topic in _TOPICS[:2]:
            self.handle(Join(topic))
        for peer in _PEERS:
            self.handle(peer)

    def handle(self, event) -> None:
        pending = [event]
        while pending:
            for output in self.router.handle(pending.pop(), self.now):
                if isinstance(output, Send):
                    assert output.peers
                    assert codec.decode(codec.encode(output.rpc)) == output.rpc
                elif isinstance(output, Validate):
                    self.verdict += 1
                    if self.verdict % 5:  # one in five hangs
                        pending.append(Validated(output.ticket, _VERDICTS[self.verdict % 4]))
                elif isinstance(output, Deliver):
                    assert output.message.topic in self.router.topics()
        check_invariants(self.router)

    def step(self, who: int, what: int, body: bytes) -> None:
        peer = _PEERS[who]
        number = body[0] if body else 0
        if what == 0:
            try:
                rpc = codec.decode(body)
            except RemoteProtocolError:
                return
            self.handle(Received(peer.peer, rpc))
        elif what == 1:
            self.handle(peer if number else PeerLeft(peer.peer))
        elif what == 2:
            self.now += number * number / 64
            self.handle(Tick())
        elif what == 3:
            self.handle(ApplicationScore(peer.peer, (number - 128) * 20.0))
        elif what == 4:
            self.handle((Join if number else Leave)(_TOPICS[who % 3]))
        else:
            self.handle(
                Publish(said(_ME, number, topic=_TOPICS[who % 3], data=body[:100] or b"x", signature=bytes(64)))
            )


def target(data: bytes) -> None:
    """Run the steps."""
    network = _Network()
    at = 0
    while at + 3 <= len(data) and at < 16_384:
        head, length = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        network.step(head & 3, (head >> 2) % 6, data[at + 3 : at + 3 + length])
        at += 3 + length
