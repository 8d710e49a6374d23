"""Topics over GossipSub: implements `ports.Topics` with the router of `nexusd_protocols.gossipsub`.

    in:  stream -> frames -> RPC -> router -> signature, validator -> router -> the topic's inbox -> deliver
    out: publish -> router -> the outbox of each peer -> stream

The router decides and this carries out. One task reads each peer, and a message is judged in that task before the next
is read: so a peer that sends faster than we can check is not read from, and only that peer.

Signatures are checked where they are read. libsodium lets go of the interpreter's lock while it works, but a thread
gets the lock back only when the loop rests or after 5 ms: measured beside a busy loop, a batch of 8 cost 2,000 µs a
message in a thread and 85 µs here, one of 100 cost 120 and 61.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
import trio
from libp2p.host.basic_host import BasicHost
from libp2p.network.stream.exceptions import StreamEOF
from msgspec.structs import replace

from nexusd.host.opener import Opener
from nexusd.host.ports import TopicStats, Verdict
from nexusd.host.pubsub.inbox import Deliver, Inbox, Validate
from nexusd.host.pubsub.line import Line
from nexusd.host.pubsub.outbox import Backlog, Encoded, Outbox
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.gossipsub import codec
from nexusd_protocols.gossipsub.chance import Chance
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
)
from nexusd_protocols.gossipsub.outputs import Deliver as Delivery
from nexusd_protocols.gossipsub.outputs import ExplicitGraft, Output, Priority, Send
from nexusd_protocols.gossipsub.outputs import Validate as Question
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.router import GossipSub
from nexusd_protocols.gossipsub.rpc import Rpc, Subscription
from nexusd_protocols.gossipsub.score import PeerScore
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pubsub.framing import FrameBuffer
from nexusd_protocols.pubsub.signed import SignedMessage

_log = structlog.get_logger(__name__)
_noise = logging.getLogger(__name__)

PROTOCOLS: Final = ("/meshsub/1.2.0", "/meshsub/1.1.0", "/meshsub/1.0.0")
"""What we speak, the best first. Floodsub is understood by the router and not offered: nobody needs it any more."""
READ_BYTES: Final = 64 * limits.KIB
TURN_MESSAGES: Final = 8
"""Judged in a row before other tasks have their turn: about a millisecond."""
PART_MESSAGES: Final = 256
"""Of one RPC that the router is given at once. js-libp2p answers an IWANT with thousands in one; so many being checked
would be more than the router allows one peer (`Bounds.validations_per_peer`)."""
VALIDATE_SECONDS: Final = 5.0
"""For a validator that has to wait for something. One that hangs has ignored the message."""
VALIDATORS: Final = 256
"""Validators that wait at once; beyond them a message is ignored."""
PUBLISH_SECONDS: Final = 10.0
"""How long a publisher waits for the slowest of those who should take its message. Who is slower has a stream that
takes nothing, which ends by itself."""
UNKNOWN_SECONDS: Final = 7.0
"""How long what a peer says waits for our stream to it (`line.RETRY_SECONDS`): less than a peer waits for us."""
WATCH_SECONDS: Final = 10.0
ONE_SIDED_SECONDS: Final = 3600.0
"""Between two lines of the log about a direct peer to which we are none: it asks again once a minute for each topic,
for as long as nobody mends the configuration."""
GRAYLIST_POINTS: Final = 100
"""Charged to a peer for each WATCH_SECONDS below the graylist threshold: its words are wasted work, and two minutes of
them are a ban."""

ONE_SIDED_HINT: Final = "that peer's `direct` does not name this host: an agreement is of both sides"
SMALL_DEBT: Final = 100.0
"""Points: ten broken messages, or one flood. A tenth of a ban."""

Charge = Callable[[PeerId, str, int], None]


def _parts(rpc: Rpc) -> Iterator[Rpc]:
    """An RPC, or its pieces if it has very many messages: in the order in which the router looks at its entries."""
    messages = rpc.messages
    if len(messages) <= PART_MESSAGES:
        yield rpc
        return
    yield replace(rpc, messages=messages[:PART_MESSAGES], control=None)
    for start in range(PART_MESSAGES, len(messages), PART_MESSAGES):
        yield Rpc(messages=messages[start : start + PART_MESSAGES])
    yield Rpc(control=rpc.control)


@dataclass(slots=True)
class _Peer:
    """A peer that speaks GossipSub."""

    line: Line
    outbox: Outbox


@dataclass(slots=True)
class Drops:
    """What was given up since the start."""

    forwarded: int = 0
    """RPCs with messages that a slow peer did not get."""
    gossip: int = 0
    verdicts_late: int = 0
    """Messages whose validator did not come to a verdict in time, or was one too many."""

    def count(self, priority: Priority) -> None:
        """One more."""
        if priority == Priority.FORWARDED:
            self.forwarded += 1
        else:
            self.gossip += 1


class TopicMesh:
    """Made with the host; `start` before anything else."""

    def __init__(
        self,
        host: BasicHost,
        opener: Opener,
        own: PeerId,
        charge: Charge,
        connection_of: Callable[[PeerId], tuple[str, bool] | None],
        *,
        chance: Chance,
        params: Params | None = None,
        direct: Collection[PeerId] = (),
    ) -> None:
        """`connection_of` tells where a connected peer counts for P6 (empty for nowhere) and whether we dialled it;
        `direct` peers are sent every message, outside of the meshes."""
        self._opener = opener
        self._charge = charge
        self._connection_of = connection_of
        self._params = params or Params()
        self._direct = direct
        self.router = GossipSub(own, now=trio.current_time(), chance=chance, params=self._params)
        self._peers: dict[PeerId, _Peer] = {}
        self._lines: dict[PeerId, Line] = {}
        self._reading: Counter[PeerId] = Counter()
        self._said: dict[PeerId, tuple[str, ...]] = {}
        self._known: dict[PeerId, trio.Event] = {}
        self._inboxes: dict[str, Inbox] = {}
        self._backlog = Backlog()
        self._waiting_validators = 0
        self._nursery: trio.Nursery | None = None
        self._one_sided: dict[PeerId, float] = {}
        """When the log was last told of a direct peer."""
        self.drops = Drops()
        self._dropped: Counter[str] = Counter()
        """Of joined topics: copies of messages that found an outbox full."""
        for protocol in PROTOCOLS:
            host.set_stream_handler(protocol, self._read)

    def start(self, nursery: trio.Nursery) -> None:
        """Beat, read and deliver in this nursery from now on."""
        self._nursery = nursery
        nursery.start_soon(self._beat)
        nursery.start_soon(self._watch)

    # --- ports.Topics -----------------------------------------------------------------------------------------------
    async def join(self, topic: str, validate: Validate, deliver: Deliver) -> None:
        """Subscribe, as `ports.Topics.join`. Joining again replaces the two functions."""
        nursery = self._running()
        if (old := self._inboxes.get(topic)) is not None:
            old.scope.cancel()
        inbox = self._inboxes[topic] = Inbox(topic, validate, deliver)
        nursery.start_soon(inbox.run)
        self._tell(Join(topic))
        await trio.lowlevel.checkpoint()

    async def leave(self, topic: str) -> None:
        """Unsubscribe. What was not delivered yet is dropped."""
        inbox = self._inboxes.pop(topic, None)
        if inbox is not None:
            inbox.scope.cancel()
            self._tell(Leave(topic))
            self._dropped.pop(topic, None)
        await trio.lowlevel.checkpoint()

    async def publish(self, message: SignedMessage) -> int:
        """Send a signed message, as `ports.Topics.publish`."""
        self._running()
        outputs = self.router.handle(Publish(message), trio.current_time())
        self._carry_out(outputs)
        targets = [
            self._peers[peer]
            for output in outputs
            if isinstance(output, Send) and output.priority == Priority.OWN
            for peer in output.peers
            if peer in self._peers
        ]
        await trio.lowlevel.checkpoint()
        if any(target.outbox.crowded for target in targets):
            with trio.move_on_after(PUBLISH_SECONDS):
                for target in targets:
                    await target.outbox.wait_for_room()
        return len(targets)

    def peers(self, topic: str) -> Sequence[PeerId]:
        """Connected peers that are subscribed."""
        return self.router.subscribers(topic)

    def stats(self, topic: str) -> TopicStats | None:
        """How a joined topic fares, as `ports.Topics.stats`."""
        counters = self.router.counters.topics.get(topic)
        if counters is None:
            return None
        return TopicStats(
            len(self.router.subscribers(topic)), self.router.mesh(topic), counters, self._dropped.get(topic, 0)
        )

    def scores(self) -> Sequence[PeerScore]:
        """Scores in their parts, as `ports.Topics.scores`."""
        return self.router.scores()

    # --- what the host tells ----------------------------------------------------------------------------------------
    def identified(self, peer: PeerId, protocols: Iterable[str]) -> None:
        """A peer said what it speaks."""
        spoken = set(protocols)
        best = next((protocol for protocol in PROTOCOLS if protocol in spoken), None)
        if best is not None:
            self._begin(peer, best)

    def left(self, peer: PeerId) -> None:
        """The last connection of a peer is gone."""
        line = self._lines.pop(peer, None)
        if line is not None:
            line.scope.cancel()
            self._now_known(peer)

    def charged(self, peer: PeerId, balance: float) -> None:
        """What a peer owes for breaking protocols counts against it here too: P5. Not the small debts: a score below
        zero costs the place in every mesh, and one bad frame of a call is no reason to be deaf in a room."""
        self._tell(ApplicationScore(peer, min(0.0, SMALL_DEBT - balance)))

    async def flush(self) -> None:
        """Until everything that was queued is with the transport."""
        for peer in list(self._peers.values()):
            await peer.outbox.wait_until_empty()

    # --- the router -------------------------------------------------------------------------------------------------
    def _running(self) -> trio.Nursery:
        if self._nursery is None:
            raise RuntimeError("the host is not running")
        return self._nursery

    def _tell(self, what: Input) -> list[Question]:
        """Give the router an input, and do what it wants done. Returns the messages that it wants judged."""
        return self._carry_out(self.router.handle(what, trio.current_time()))

    def _carry_out(self, outputs: Iterable[Output]) -> list[Question]:
        questions = []
        for output in outputs:
            if isinstance(output, Send):
                self._send(output)
            elif isinstance(output, Question):
                questions.append(output)
            elif isinstance(output, Delivery) and (inbox := self._inboxes.get(output.message.topic)) is not None:
                inbox.put(output.sender, output.message)
            elif isinstance(output, ExplicitGraft):
                self._complain_of(output)
        return questions

    def _send(self, send: Send) -> None:
        rpc = send.rpc
        encoded = Encoded(codec.encode(rpc), plain=rpc.control is None and not rpc.subscriptions)
        for name in send.peers:
            peer = self._peers.get(name)
            if peer is not None and not peer.outbox.push(encoded, send.priority) and not peer.outbox.closed:
                for message in rpc.messages:
                    if message.topic in self._inboxes:
                        self._dropped[message.topic] += 1

    def _complain_of(self, graft: ExplicitGraft) -> None:
        now = trio.current_time()
        if now >= self._one_sided.get(graft.sender, -math.inf) + ONE_SIDED_SECONDS:
            self._one_sided[graft.sender] = now
            _log.warning("direct_peer_grafts", peer=graft.sender, topic=graft.topic, hint=ONE_SIDED_HINT)

    async def _beat(self) -> None:
        while True:
            await trio.sleep_until(self.router.deadline())
            self._tell(Tick())

    async def _watch(self) -> None:
        """Charge those whom nobody listens to any more."""
        while True:
            await trio.sleep(WATCH_SECONDS)
            for peer in list(self._peers):
                if self.router.at_fault(peer):
                    self._charge(peer, "graylisted", GRAYLIST_POINTS)

    # --- streams ----------------------------------------------------------------------------------------------------
    def _begin(self, peer: PeerId, protocol: str) -> None:
        """Have a line to a peer. One that is there stays: what the peer speaks does not change under a connection."""
        if self._nursery is None or peer in self._lines or self._connection_of(peer) is None:
            return
        line = Line(self._opener, peer, protocol, made=self._made, moved=self._moved, lost=self._lost)
        self._lines[peer] = line
        line.begin()
        self._nursery.start_soon(self._run, line)

    async def _run(self, line: Line) -> None:
        try:
            await line.run()
        finally:
            if self._lines.get(line.peer) is line:
                del self._lines[line.peer]
                self._now_known(line.peer)

    def _made(self, line: Line) -> Outbox | None:
        """Both sides know nothing of one another yet: say hello, and forget what was said on an earlier stream."""
        where = self._connection_of(line.peer)
        if where is None or self._lines.get(line.peer) is not line:
            return None
        address, outbound = where
        outbox = Outbox(self._backlog, self.drops.count)
        self._peers[line.peer] = _Peer(line, outbox)
        self._tell(PeerJoined(line.peer, line.version, outbound, address, line.peer in self._direct))
        self._now_known(line.peer)
        if (said := self._said.pop(line.peer, ())) and self._reading[line.peer]:
            self._tell(Received(line.peer, Rpc(subscriptions=tuple(Subscription(topic, True) for topic in said))))
        return outbox

    def _now_known(self, peer: PeerId) -> None:
        """There is a line again, or there will be none: nobody need wait for it."""
        if (waiting := self._known.pop(peer, None)) is not None:
            waiting.set()

    def _moved(self, outbox: Outbox) -> None:
        """Say hello again: the peer may have been started anew, and its end of the old stream be nobody's."""
        if topics := self.router.topics():
            hello = Rpc(subscriptions=tuple(Subscription(topic, True) for topic in topics))
            outbox.push(Encoded(codec.encode(hello), plain=False), Priority.CONTROL)

    def _lost(self, line: Line) -> None:
        peer = self._peers.get(line.peer)
        if peer is not None and peer.line is line:
            del self._peers[line.peer]
            if self._reading[line.peer]:
                # its stream to us is another than ours to it: what it said there holds, and it says it once
                self._said[line.peer] = self.router.subscriptions(line.peer)
            self._tell(PeerLeft(line.peer))

    async def _read(self, stream: Any) -> None:
        """Read a peer's RPCs until its stream ends or errs."""
        peer: PeerId = stream.peer
        # identify may come later than the peer's first words, and those say what it is subscribed to
        self._begin(peer, stream.get_protocol())
        frames = FrameBuffer()
        self._reading[peer] += 1
        kept = 0
        try:
            while True:
                for raw in frames.feed(await stream.read(READ_BYTES)):
                    await self._take(peer, raw)
                if len(frames) != kept:
                    kept = len(frames)
                    stream.keep(kept)
        except StreamEOF:
            await stream.close()
        except RemoteProtocolError as error:
            self._charge(peer, error.code, error.penalty)
            await reset_stream(stream)
        except Exception as error:
            # what the muxer and the socket raise of their own
            _noise.debug("pubsub stream of %s: %r", peer, error)
            await reset_stream(stream)
        finally:
            self._reading[peer] -= 1
            if not self._reading[peer]:
                del self._reading[peer]
                self._said.pop(peer, None)

    async def _take(self, peer: PeerId, raw: bytes) -> None:
        if self.router.ignores(peer):
            await trio.lowlevel.checkpoint()
            return
        rpc = codec.decode(raw)
        for malformed in rpc.malformed:
            if malformed.blame:
                self._charge(peer, malformed.code, 10)
        if peer not in self._peers:
            self._note(peer, rpc.subscriptions)
            if rpc.messages:
                await self._until_known(peer)
        for part in _parts(rpc):
            questions = self._tell(Received(peer, part))
            for number, question in enumerate(questions):
                if number % TURN_MESSAGES == TURN_MESSAGES - 1:
                    await trio.lowlevel.checkpoint()
                self._judge(question)
            await trio.lowlevel.checkpoint()

    async def _until_known(self, peer: PeerId) -> None:
        """Read no further while our stream to the peer is opened again: to the router it is nobody until then, and what
        it says would be lost, because it takes us for a member of its mesh and offers us nothing by gossip."""
        if peer in self._lines:
            with trio.move_on_after(UNKNOWN_SECONDS):
                await self._known.setdefault(peer, trio.Event()).wait()

    def _note(self, peer: PeerId, changes: Iterable[Subscription]) -> None:
        """Our stream to the peer is being opened again: what it subscribes to meanwhile, it says once too."""
        said = dict.fromkeys(self._said.get(peer, ()))
        for change in changes:
            if not change.subscribe:
                said.pop(change.topic, None)
            elif len(said) < self._params.bounds.peer_topics:
                said[change.topic] = None
        self._said[peer] = tuple(said)

    # --- validation -------------------------------------------------------------------------------------------------
    def _judge(self, question: Question) -> None:
        message, sender = question.message, question.sender
        verdict: Verdict | Awaitable[Verdict] = "ignore"
        inbox = self._inboxes.get(message.topic)
        if not message.verify():
            self._charge(sender, "bad_signature", 10)
            self._tell(Validated(question.ticket, "reject"))
            return
        if inbox is not None:
            try:
                verdict = inbox.validate(sender, message)
            except Exception:
                _log.exception("validator_failed", topic=message.topic)
        if isinstance(verdict, str):
            self._answer(question, verdict)
        elif self._waiting_validators < VALIDATORS:
            self._waiting_validators += 1
            self._running().start_soon(partial(self._judge_later, question, verdict))
        else:
            self.drops.verdicts_late += 1
            if isinstance(verdict, Coroutine):
                verdict.close()
            self._answer(question, "ignore")

    async def _judge_later(self, question: Question, verdict: Awaitable[Verdict]) -> None:
        found: Verdict = "ignore"
        try:
            with trio.move_on_after(VALIDATE_SECONDS) as patience:
                found = await verdict
            self.drops.verdicts_late += patience.cancelled_caught
        except Exception:
            _log.exception("validator_failed", topic=question.message.topic)
        finally:
            self._waiting_validators -= 1
            self._answer(question, found)

    def _answer(self, question: Question, verdict: Verdict) -> None:
        if verdict == "reject":
            self._charge(question.sender, "rejected_message", 5)
        self._tell(Validated(question.ticket, verdict))
