"""An honest host: the router as the daemon runs it, without a transport below and an application above."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from nexusd_protocols.gossipsub.inputs import Input, Join, PeerJoined, Publish, Received, Tick, Validated, Version
from nexusd_protocols.gossipsub.outputs import Deliver, Send, Validate
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.router import GossipSub
from nexusd_protocols.gossipsub.rpc import Rpc
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.sim.gossipsub.network import Network

TOPIC: Final = "/nexus/room/simulated"
FORGED: Final = b"forged"
"""A signature that no validator takes. True ones are empty here: nothing is encrypted or signed in a simulation."""

Heard = Callable[[str, SignedMessage], None]


def _wire_id(message: SignedMessage) -> bytes:
    return message.seqno


class Honest:
    """`heard` is told of each delivery."""

    def __init__(self, network: Network, name: str, ip: str, params: Params, heard: Heard) -> None:
        self.name = name
        self.ip = ip
        self.received = 0
        """Copies of messages that came, duplicates too."""
        self._network = network
        self._heard = heard
        self.router = GossipSub(
            PeerId(name),
            now=network.now,
            chance=random.Random(network.random.random()),
            params=params,
            message_id=_wire_id,
        )
        self.tell(Join(TOPIC))
        self._tick()

    def joined(self, peer: str, *, outbound: bool) -> None:
        other = self._network.actors[peer]
        self.tell(PeerJoined(PeerId(peer), Version.V1_2, outbound, other.ip))

    def receive(self, peer: str, rpc: Rpc) -> None:
        self.received += len(rpc.messages)
        self.tell(Received(PeerId(peer), rpc))

    def publish(self, number: int, size: int) -> SignedMessage:
        """Say something. Returns it."""
        message = SignedMessage(PeerId(self.name), bytes(size), number.to_bytes(8, "big"), TOPIC, b"")
        self.tell(Publish(message))
        return message

    def tell(self, what: Input) -> None:
        """Give the router an input and do what it wants done."""
        network = self._network
        for output in self.router.handle(what, network.now):
            if isinstance(output, Send):
                for peer in output.peers:
                    network.send(self.name, peer, output.rpc)
            elif isinstance(output, Validate):
                verdict = "reject" if output.message.signature == FORGED else "accept"
                self.tell(Validated(output.ticket, verdict))
            elif isinstance(output, Deliver):
                self._heard(self.name, output.message)

    def _tick(self) -> None:
        self.tell(Tick())
        self._network.at(self.router.deadline(), self._tick)
