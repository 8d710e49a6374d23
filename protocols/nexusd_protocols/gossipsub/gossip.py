"""Lazy gossip: IHAVE and IWANT (gossipsub-v1.0 "Gossip Emission", "Control Messages"; gossipsub-v1.1 "Adaptive Gossip
Dissemination", "Spam Protection Measures")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator

from nexusd_protocols.gossipsub.chance import Chance, some
from nexusd_protocols.gossipsub.counters import Counters
from nexusd_protocols.gossipsub.message_cache import Entry, MessageCache
from nexusd_protocols.gossipsub.outbox import Outbox
from nexusd_protocols.gossipsub.outputs import Priority, Send
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.peers import Peer, PeerTable
from nexusd_protocols.gossipsub.promises import Promises
from nexusd_protocols.gossipsub.rpc import Control, IHave, IWant, Rpc
from nexusd_protocols.gossipsub.seen import Seen
from nexusd_protocols.identity import PeerId


class LazyGossip:
    """Offers what is in the message cache, asks for what was offered, and answers who asks."""

    def __init__(
        self,
        params: Params,
        table: PeerTable,
        cache: MessageCache,
        seen: Seen,
        counters: Counters,
        outbox: Outbox,
        chance: Chance,
    ) -> None:
        self._params = params
        self._table = table
        self._cache = cache
        self._seen = seen
        self._counters = counters
        self._outbox = outbox
        self._chance = chance
        self.promises = Promises(params.bounds.promises)
        self._offers: list[IHave] = []
        self._offered_to: dict[PeerId, list[int]] = {}

    def emit(self, topic: str, members: Container[PeerId], fresh: Iterable[Peer] = ()) -> None:
        """Offer the topic's recent messages to some subscribers that are not among these members, and to the `fresh`
        ones among them: what was said just before they came is sent to them by nobody else (specs/gossipsub.md §3).
        Goes out by `flush`."""
        ids = self._cache.gossip_ids(topic)
        if not ids:
            return
        threshold = self._params.score.gossip_threshold
        newcomers = tuple([peer.id for peer in fresh if peer.id in members and peer.card.score >= threshold])
        self._offer(newcomers, topic, ids[: self._params.max_ihave_length])
        others = [
            peer.id
            for peer in self._table.subscribers.get(topic, {}).values()
            if peer.meshable and peer.id not in members and peer.card.score >= threshold
        ]
        # "it randomly selects gossip factor peers with a minimum of D_lazy"
        count = max(self._params.d_lazy, int(self._params.gossip_factor * len(others)))
        chosen = some(self._chance, others, count)
        if len(ids) <= self._params.max_ihave_length:
            self._offer(tuple(chosen), topic, ids)
            return
        for peer in chosen:  # each another part, so that together they hear of all
            self._offer((peer,), topic, self._chance.sample(ids, self._params.max_ihave_length))

    def _offer(self, peers: tuple[PeerId, ...], topic: str, ids: list[bytes]) -> None:
        if peers:
            self._counters.ihave_ids_sent += len(ids) * len(peers)
            if (counters := self._counters.topics.get(topic)) is not None:
                counters.ihave_ids_sent += len(ids) * len(peers)
            for peer in peers:
                self._offered_to.setdefault(peer, []).append(len(self._offers))
            self._offers.append(IHave(topic, tuple(ids)))

    def flush(self) -> None:
        """Send what a heartbeat offers, to each peer in one RPC however many topics it shares with us (gossipsub-v1.0
        "Control Message Piggybacking"): of RPCs with IHAVEs everybody takes ten a heartbeat and no more. Peers that are
        offered the same get the same RPC."""
        alike: dict[tuple[int, ...], list[PeerId]] = {}
        for peer, numbers in self._offered_to.items():
            alike.setdefault(tuple(numbers), []).append(peer)
        for chosen, peers in alike.items():
            for offers in self._packed(chosen):
                self._outbox.put(Send(tuple(peers), Rpc(control=Control(ihave=offers)), Priority.GOSSIP))
        self._offers.clear()
        self._offered_to.clear()

    def _packed(self, numbers: tuple[int, ...]) -> Iterator[tuple[IHave, ...]]:
        """These offers, in RPCs with as many ids as a receiver takes."""
        offers: list[IHave] = []
        count = 0
        for number in numbers:
            offer = self._offers[number]
            if offers and count + len(offer.message_ids) > self._params.max_ihave_length:
                yield tuple(offers)
                offers, count = [], 0
            offers.append(offer)
            count += len(offer.message_ids)
        yield tuple(offers)

    def offered(self, peer: Peer, offers: Iterable[IHave], topics: Container[str], now: float) -> None:
        """gossipsub-v1.0 "IHAVE": ask for what we have not seen. Counts of this heartbeat are the peer's."""
        # "Score Thresholds": "gossip from that peer is ignored"
        if peer.card.score < self._params.score.gossip_threshold:
            return
        # "IHAVE messages are capped to a certain number of IHAVE messages and aggregate number of message IDs": of RPCs
        # with IHAVEs, as others count; who shares fifty rooms with us offers fifty in one
        peer.ihaves += 1
        if peer.ihaves > self._params.max_ihave_messages:
            return
        wanted: dict[bytes, str] = {}
        for offer in offers:
            self._counters.ihave_ids_received += len(offer.message_ids)
            if offer.topic in topics:
                self._counters.topics[offer.topic].ihave_ids_received += len(offer.message_ids)
                self._pick(offer, wanted)
        ids = some(self._chance, list(wanted), self._params.max_ihave_length - peer.asked)
        if not ids:
            return
        peer.asked += len(ids)
        self._counters.iwant_ids_sent += len(ids)
        for wire_id in ids:
            self._counters.topics[wanted[wire_id]].iwant_ids_sent += 1
        # "the router tracks a random message ID within the advertised set"; the sample is in random order
        self.promises.add(ids[0], peer.id, now + self._params.iwant_followup, wanted[ids[0]])
        self._outbox.put(Send((peer.id,), Rpc(control=Control(iwant=(IWant(tuple(ids)),))), Priority.CONTROL))

    def _pick(self, offer: IHave, wanted: dict[bytes, str]) -> None:
        known = self._seen.known
        ids = offer.message_ids
        several = Counter(ids) if len(set(ids)) < len(ids) else None
        for wire_id in ids:
            count = known(wire_id)
            # an id that is offered more often than we know it belongs to a message of another author too
            if not count or (several is not None and several[wire_id] > count):
                wanted[wire_id] = offer.topic

    def asked(self, peer: Peer, wants: Iterable[IWant]) -> None:
        """gossipsub-v1.0 "IWANT": send what is in the cache."""
        # "Score Thresholds": below the gossip threshold nothing is given either
        if peer.card.score < self._params.score.gossip_threshold:
            return
        left = self._params.max_ihave_length
        for want in wants:
            self._counters.iwant_ids_received += len(want.message_ids)
            peer.wanted += len(want.message_ids)
            for wire_id in want.message_ids[:left]:
                matches = self._cache.matches(wire_id)
                if matches:
                    self._answer(peer, matches)
            left -= min(left, len(want.message_ids))

    def _answer(self, peer: Peer, matches: list[Entry]) -> None:
        bounds = self._params.bounds
        if len(matches) > 1:  # those first that the peer got least often, so that in the end it has all
            matches = sorted(matches, key=lambda entry: entry.answered.get(peer.id, 0))[: bounds.same_id]
        for entry in matches:
            times = entry.answered.get(peer.id, 0)
            size = len(entry.message.data)
            # "the router responds a limited number of times to each peer"
            if times >= self._params.gossip_retransmission or peer.sent_bytes + size > bounds.iwant_bytes:
                continue
            entry.answered[peer.id] = times + 1
            peer.sent_bytes += size
            self._counters.iwant_messages_sent += 1
            if (counters := self._counters.topics.get(entry.message.topic)) is not None:
                counters.iwant_messages_sent += 1
            self._outbox.put(Send((peer.id,), Rpc(messages=(entry.message,)), Priority.GOSSIP))
