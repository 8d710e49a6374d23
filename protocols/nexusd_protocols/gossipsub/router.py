"""The GossipSub router. (specs/gossipsub.md)

    PeerJoined, PeerLeft            ->  Send (our subscriptions)
    Received(rpc) -> Validate       ->  Validated(verdict) -> Deliver, Send (on to the mesh)
                  -> Send (GRAFT, PRUNE, IWANT and what was asked for)
    Join, Leave, Publish            ->  Send
    Tick at `deadline()`            ->  Send (the heartbeat: mesh, fan-out, gossip)

Time is handed in as seconds of a clock that never goes back, randomness as a `Chance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from nexusd_protocols.gossipsub.chance import Chance
from nexusd_protocols.gossipsub.counters import Counters, TopicCounters
from nexusd_protocols.gossipsub.fanout import Fanout
from nexusd_protocols.gossipsub.gossip import LazyGossip
from nexusd_protocols.gossipsub.inputs import (
    ApplicationScore,
    Input,
    Join,
    Leave,
    PeerJoined,
    PeerLeft,
    Publish,
    Received,
    Tick,
    Validated,
    Verdict,
    Version,
)
from nexusd_protocols.gossipsub.mesh import Meshes
from nexusd_protocols.gossipsub.message_cache import Entry, MessageCache
from nexusd_protocols.gossipsub.outbox import Outbox
from nexusd_protocols.gossipsub.outputs import Deliver, Output, Priority, Send, Validate
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.peers import Peer, PeerTable
from nexusd_protocols.gossipsub.rpc import Control, Rpc, Subscription
from nexusd_protocols.gossipsub.score import PeerScore, Scores
from nexusd_protocols.gossipsub.seen import MessageKey, Seen
from nexusd_protocols.gossipsub.spread import Spread
from nexusd_protocols.gossipsub.upkeep import Upkeep
from nexusd_protocols.gossipsub.validations import Validation, Validations
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pubsub.signed import SignedMessage

MessageId = Callable[[SignedMessage], bytes]

_BACKOFF_BEATS: Final = 15
"""Heartbeats between looks for back-offs that are over: they count as over anyhow, this only frees memory."""
_NAP_BEATS: Final = 3
"""After so many heartbeats that did not happen, promises prove nothing: it was us who did not listen."""
_OVERFLOW_PENALTY: Final = 10.0
"""P7 for an RPC with entries beyond the bounds, which no honest peer sends: the third makes the graylist."""
_MALFORMED_PENALTY: Final = 4.0
"""P7 for a message whose topic is not even a name, so that no topic can count it as invalid."""


class GossipSub:
    """One node's router. `own` is this node, whose messages are never taken from others; `message_id` gives the id on
    the wire. What it holds is bounded by `params.bounds`."""

    def __init__(
        self,
        own: PeerId,
        *,
        now: float,
        chance: Chance,
        params: Params | None = None,
        message_id: MessageId = SignedMessage.wire_id,
    ) -> None:
        self._own = own
        self._params = params = params or Params()
        self._message_id = message_id
        self.counters: Final = Counters()
        self._outbox = Outbox(self.counters)
        self._scores = Scores(params.score, now)
        self._table = PeerTable(params.bounds)
        self._seen = Seen(params.seen_ttl, params.bounds.seen_messages)
        self._cache = MessageCache(params.mcache_len, params.mcache_gossip, params.bounds.cache_bytes)
        self._validations = Validations(params.bounds)
        self._fanout = Fanout(params, self._table, chance)
        self._meshes = Meshes(params, self._table, self._scores, self.counters, self._outbox, chance)
        self._upkeep = Upkeep(params, self._meshes, chance)
        self._gossip = LazyGossip(params, self._table, self._cache, self._seen, self.counters, self._outbox, chance)
        self._spread = Spread(params, self._table, self._meshes, self._fanout, self.counters, self._outbox)
        # anywhere in the first interval, so that nodes started together do not beat together
        self._next_beat = now + params.heartbeat_interval * chance.random()
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            PeerJoined: self._joined,
            PeerLeft: self._left,
            Received: self._received,
            Join: self._join,
            Leave: self._leave,
            Publish: self._publish,
            Validated: self._validated,
            ApplicationScore: self._application_score,
            Tick: self._tick,
        }

    def handle(self, event: Input, now: float) -> list[Output]:
        """Take one input; give what is to be done for it, in order. Never raises for what a peer did."""
        self._handlers[type(event)](event, now)
        return self._outbox.empty()

    def deadline(self) -> float:
        """When the next `Tick` is due."""
        return self._next_beat

    # --- what is so, for metrics and tests ------------------------------------------------------------------------

    def topics(self) -> tuple[str, ...]:
        """The joined topics."""
        return tuple(self._meshes.topics)

    def mesh(self, topic: str) -> tuple[PeerId, ...]:
        """The members of a topic's mesh; none if it is not joined."""
        return tuple(self._meshes.topics.get(topic, ()))

    def subscribers(self, topic: str) -> tuple[PeerId, ...]:
        """Who said that it joined the topic."""
        return tuple(self._table.subscribers.get(topic, ()))

    def subscriptions(self, peer: PeerId) -> tuple[str, ...]:
        """The topics that a peer said that it joined."""
        known = self._table.peers.get(peer)
        return () if known is None else tuple(known.topics)

    def scores(self) -> list[PeerScore]:
        """The scores of connected peers, in their parts."""
        return self._scores.report()

    def graylisted(self, peer: PeerId) -> bool:
        """Whether RPCs of the peer are ignored."""
        known = self._table.peers.get(peer)
        return known is not None and self._ignores(known)

    def ignores(self, peer: PeerId) -> bool:
        """As `graylisted`, for an RPC that came: if so it is counted, and there is no need to decode it."""
        if not self.graylisted(peer):
            return False
        self.counters.rpcs += 1
        self.counters.graylisted += 1
        return True

    def at_fault(self, peer: PeerId) -> bool:
        """Whether a peer is on the graylist for what it did itself. Neighbours at one address cost it the mesh (P6),
        and are no offence of its own."""
        known = self._table.peers.get(peer)
        return (
            known is not None
            and self._ignores(known)
            and self._scores.conduct(known.card) < self._params.score.graylist_threshold
        )

    # --- peers ----------------------------------------------------------------------------------------------------

    def _joined(self, event: PeerJoined, now: float) -> None:
        if event.peer in self._table.peers:
            self._left(PeerLeft(event.peer), now)
        self._table.add(Peer(event, self._scores.arrive(event.peer, event.address)))
        # pubsub/README.md "The RPC": a peer is told our topics when it connects
        if self._meshes.topics:
            hello = Rpc(subscriptions=tuple(Subscription(topic, True) for topic in self._meshes.topics))
            self._outbox.put(Send((event.peer,), hello, Priority.CONTROL))

    def _left(self, event: PeerLeft, now: float) -> None:
        peer = self._table.peers.get(event.peer)
        if peer is None:
            return
        for topic in peer.topics:
            self._meshes.forget(topic, peer)
            self._fanout.forget(topic, peer.id)
        self._table.remove(peer)
        self._scores.depart(peer.id, now)

    def _application_score(self, event: ApplicationScore, now: float) -> None:
        self._scores.set_application(event.peer, event.score)

    # --- RPCs -----------------------------------------------------------------------------------------------------

    def _ignores(self, peer: Peer) -> bool:
        # gossipsub-v1.1 "Score Thresholds": "the peer is graylisted and its RPCs are ignored"; "Explicit Peering
        # Agreements": "incoming RPCs are always accepted from them"
        return peer.card.score < self._params.score.graylist_threshold and not peer.direct

    def _received(self, event: Received, now: float) -> None:
        peer = self._table.peers.get(event.peer)
        if peer is None:
            return
        self.counters.rpcs += 1
        if self._ignores(peer):
            self.counters.graylisted += 1
            return
        rpc = event.rpc
        if rpc.dropped or rpc.malformed:
            self._charge(peer, rpc)
        for option in rpc.subscriptions:
            self._subscription(peer, option, now)
        for message in rpc.messages:
            self._message(peer, message, now)
        if rpc.control is not None and peer.version is not Version.FLOODSUB:
            self._control(peer, rpc.control, now)

    def _charge(self, peer: Peer, rpc: Rpc) -> None:
        if rpc.dropped:
            self.counters.dropped_entries += rpc.dropped
            self._scores.misbehaved(peer.card, _OVERFLOW_PENALTY)
        for fault in rpc.malformed:
            self.counters.malformed += 1
            if not fault.blame:
                continue
            if fault.topic is not None and fault.topic in self.counters.topics:
                self.counters.topics[fault.topic].rejected += 1
                self._scores.invalid(peer.card, fault.topic)
            else:
                self._scores.misbehaved(peer.card, _MALFORMED_PENALTY)

    def _subscription(self, peer: Peer, option: Subscription, now: float) -> None:
        topic = option.topic
        if not option.subscribe:
            self._table.unsubscribe(peer, topic)
            self._meshes.forget(topic, peer)
            self._fanout.forget(topic, peer.id)
        elif not self._table.subscribe(peer, topic, joined=topic in self._meshes.topics):
            self.counters.dropped_entries += 1
        elif topic in self._meshes.topics:
            self._meshes.welcome(topic, peer, now)

    def _control(self, peer: Peer, control: Control, now: float) -> None:
        peer.renew(self._table.beat)
        if control.graft:
            self._meshes.grafted(peer, control.graft, now)
        if control.prune:
            self._meshes.pruned(peer, control.prune, now)
        if control.idontwant:
            self._spread.unwanted(peer, control.idontwant, now)
        if control.ihave:
            self._gossip.offered(peer, control.ihave, self._meshes.topics, now)
        if control.iwant:
            self._gossip.asked(peer, control.iwant)
        if peer.floods(self._params):
            self._scores.misbehaved(peer.card, 1.0)

    # --- messages -------------------------------------------------------------------------------------------------

    def _message(self, peer: Peer, message: SignedMessage, now: float) -> None:
        counters = self.counters.topics.get(message.topic)
        if counters is None or message.sender == self._own:
            self.counters.unwanted += 1
            return
        counters.bytes_received += len(message.data)
        wire_id = self._message_id(message)
        if len(self._gossip.promises):
            self._gossip.promises.fulfil(wire_id)
        key = (message.sender, wire_id)
        if key in self._seen:
            counters.duplicates += 1
            self._late_copy(peer, message.topic, key, now)
            return
        validation = self._validations.copy_of(key, message)
        if validation is not None:
            counters.duplicates += 1
            if peer.id != validation.sender and peer.id not in validation.copies:
                validation.copies.append(peer.id)
            return
        validation = self._validations.begin(key, message, peer.id, now)
        if validation is None:
            counters.throttled += 1
            return
        self._outbox.put(Validate(validation.ticket, message, peer.id))

    def _late_copy(self, peer: Peer, topic: str, key: MessageKey, now: float) -> None:
        """gossipsub-v1.1 "P₃": a copy "within a configurable window of validation" counts, once."""
        window = self._scores.delivery_window(topic)
        if window is None:
            return
        entry = self._cache.find(key)
        if entry is not None and now - entry.accepted <= window and peer.id not in entry.senders:
            entry.senders.append(peer.id)
            self._scores.near_first_delivery(peer.card, topic)

    def _validated(self, event: Validated, now: float) -> None:
        validation = self._validations.end(event.ticket)
        if validation is not None:
            self._judged(validation, event.verdict, now)

    def _judged(self, validation: Validation, verdict: Verdict, now: float) -> None:
        topic = validation.message.topic
        counters = self.counters.topics.get(topic)
        if counters is None:
            return  # left meanwhile
        if verdict == "reject":
            counters.rejected += 1
            # gossipsub-v1.1 "Extended Validators": reject "should trigger the P₄ penalty", for everybody who sent it
            for sender in (validation.sender, *validation.copies):
                if (peer := self._table.peers.get(sender)) is not None:
                    self._scores.invalid(peer.card, topic)
        elif validation.key in self._seen:
            counters.duplicates += 1  # its author signed two messages with this id, and the other was first
        elif verdict == "ignore":
            counters.ignored += 1
            self._seen.add(validation.key, now, known=False)
        else:
            self._accepted(validation, counters, now)

    def _accepted(self, validation: Validation, counters: TopicCounters, now: float) -> None:
        message = validation.message
        self._seen.add(validation.key, now, known=True)
        counters.delivered += 1
        if (first := self._table.peers.get(validation.sender)) is not None:
            self._scores.first_delivery(first.card, message.topic)
        for sender in validation.copies:
            if (peer := self._table.peers.get(sender)) is not None:
                self._scores.near_first_delivery(peer.card, message.topic)
        entry = Entry(message, validation.key[1], [validation.sender, *validation.copies], now)
        self._outbox.put(Deliver(message, validation.sender))
        self._spread.forward(entry, self._cache.put(entry))

    def _publish(self, event: Publish, now: float) -> None:
        message = event.message
        wire_id = self._message_id(message)
        key = (message.sender, wire_id)
        if key in self._seen:
            return
        self._seen.add(key, now, known=True)
        if (counters := self.counters.topics.get(message.topic)) is not None:
            counters.published += 1
        # nobody delivers to us what we published: no window for copies
        entry = Entry(message, wire_id, [], -math.inf)
        self._cache.put(entry)
        self._spread.publish(entry, now)

    # --- topics ---------------------------------------------------------------------------------------------------

    def _join(self, event: Join, now: float) -> None:
        topic = event.topic
        if topic in self._meshes.topics:
            return
        self.counters.topics[topic] = TopicCounters()
        self._announce(Subscription(topic, True))
        self._meshes.join(topic, self._fanout.take(topic), now)

    def _leave(self, event: Leave, now: float) -> None:
        topic = event.topic
        if topic not in self._meshes.topics:
            return
        self._announce(Subscription(topic, False))
        self._meshes.leave(topic, now)
        del self.counters.topics[topic]

    def _announce(self, subscription: Subscription) -> None:
        # pubsub/README.md "The RPC": every peer is told of changes
        if self._table.peers:
            rpc = Rpc(subscriptions=(subscription,))
            self._outbox.put(Send(tuple(self._table.peers), rpc, Priority.CONTROL))

    # --- time -----------------------------------------------------------------------------------------------------

    def _tick(self, event: Tick, now: float) -> None:
        if now < self._next_beat:
            return
        interval = self._params.heartbeat_interval
        missed = int((now - self._next_beat) / interval)
        # one heartbeat, however long the last was ago
        self._next_beat = self._next_beat + interval if not missed else now + interval
        self.counters.heartbeats_skipped += missed
        self._heartbeat(missed, now)

    def _heartbeat(self, missed: int, now: float) -> None:
        """gossipsub-v1.0 "Heartbeat", gossipsub-v1.1 "Heartbeat Maintenance"."""
        self._table.beat += 1
        self.counters.heartbeats += 1
        if missed >= _NAP_BEATS:
            self._gossip.promises.forgive()
        # messages of before a nap are offered no more: others have forgotten that they had them
        self._cache.shift(min(missed, self._params.mcache_len))
        self._collect(now)
        self._scores.refresh(now)
        opportunistic = self._table.beat % self._params.opportunistic_graft_ticks == 0
        for topic, mesh in self._meshes.topics.items():
            self._upkeep.maintain(topic, now, opportunistic=opportunistic)
            self._gossip.emit(topic, mesh, self._meshes.fresh.pop(topic, {}).values())
        self._fanout.maintain(now)
        for topic, members in self._fanout.topics.items():
            self._gossip.emit(topic, members)
        self._gossip.flush()
        self._cache.shift()

    def _collect(self, now: float) -> None:
        """What has become old."""
        for offender, topic in self._gossip.promises.broken(now):
            # "If the message is not received (from any peer) within a period of time, then a behavioural penalty is
            # applied to the advertising peer through P₇"
            if (peer := self._table.peers.get(offender)) is not None:
                self.counters.promises_broken += 1
                if (counters := self.counters.topics.get(topic)) is not None:
                    counters.promises_broken += 1
                self._scores.misbehaved(peer.card, 1.0)
        for validation in self._validations.end_overdue(now - self._params.bounds.validation_seconds):
            self.counters.validations_expired += 1
            self._judged(validation, "ignore", now)
        self._seen.expire(now)
        if self._table.beat % _BACKOFF_BEATS == 0:
            self._meshes.backoff.expire(now)
        for peer in self._table.peers.values():
            if peer.dont_want:
                # gossipsub-v1.2: "Old entries […] SHOULD be pruned during heartbeat processing"
                peer.dont_want = {wire_id: until for wire_id, until in peer.dont_want.items() if until > now}
