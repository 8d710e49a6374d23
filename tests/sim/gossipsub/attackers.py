"""Who attacks: far simpler than a router, because an attacker keeps no promise.

A Sybil subscribes and grafts itself to whoever it is connected with, takes a place in as many meshes as it gets, and
then withholds what it should forward: all of it, a share, or what one author says. Pruned, it waits for the back-off to
pass and tries again. (Report §4 describes such an attacker; it is called bad boy there.)
"""

from __future__ import annotations

from dataclasses import dataclass

from nexusd_protocols.gossipsub.rpc import Control, Graft, Rpc, Subscription
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.sim.gossipsub.honest import TOPIC
from tests.sim.gossipsub.network import Network

_ENTER = Rpc(subscriptions=(Subscription(TOPIC, True),), control=Control(graft=(Graft(TOPIC),)))
_GRAFT = Rpc(control=Control(graft=(Graft(TOPIC),)))


@dataclass(frozen=True, slots=True)
class Malice:
    """What Sybils do. `drop`: the share of messages that they withhold. `censored`: the author whose messages they
    withhold (then no others). `attack_at`: until then they forward like honest hosts. Times in seconds."""

    drop: float = 1.0
    censored: str = ""
    attack_at: float = 0.0
    regraft_after: float = 60.0
    regraft_jitter: float = 15.0


class Sybil:
    """One identity of the attacker."""

    def __init__(self, network: Network, name: str, ip: str, malice: Malice) -> None:
        self.name = name
        self.ip = ip
        self._network = network
        self._malice = malice
        self._meshes: set[str] = set()
        self._seen: set[bytes] = set()

    def joined(self, peer: str, *, outbound: bool) -> None:
        self._meshes.add(peer)
        self._network.send(self.name, peer, _ENTER)

    def receive(self, peer: str, rpc: Rpc) -> None:
        if rpc.control is not None:
            if rpc.control.prune:
                self._meshes.discard(peer)
                jitter = self._malice.regraft_jitter * self._network.random.random()
                self._network.after(self._malice.regraft_after + jitter, self._regraft, peer)
            if rpc.control.graft:
                self._meshes.add(peer)
        for message in rpc.messages:
            if message.seqno not in self._seen:
                self._seen.add(message.seqno)
                if not self._withholds(message):
                    self._forward(peer, message)

    def _withholds(self, message: SignedMessage) -> bool:
        if self._network.now < self._malice.attack_at:
            return False
        if self._malice.censored:
            return message.sender == self._malice.censored
        return self._network.random.random() < self._malice.drop

    def _forward(self, source: str, message: SignedMessage) -> None:
        rpc = Rpc(messages=(message,))
        for peer in self._meshes:
            if peer not in (source, message.sender):
                self._network.send(self.name, peer, rpc)

    def _regraft(self, peer: str) -> None:
        self._meshes.add(peer)
        self._network.send(self.name, peer, _GRAFT)
