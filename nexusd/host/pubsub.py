"""Topics over GossipSub: implements `ports.Topics`.

    in:  stream -> frames -> push_msg (signature, verdict) -> the topic's inbox -> deliver
                                                           -> gossip (forward)
    out: publish -> gossip -> the queue of each peer -> stream

Fault C3: in stock code one malformed message, or a validator that raises, ends the service and the nursery it lives in.
It also starts a task for each message, so that they arrive in any order and without bound, and reads with
`read_exactly`, which gives up after 101 partial reads (C6). So reading and validating are here: in order, one after the
other for each peer, and whatever is wrong with a message is that message's end only.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
import trio
from libp2p.host.basic_host import BasicHost
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.pubsub import pubsub as stock
from libp2p.pubsub.pb import rpc_pb2

from nexusd.host.gossip import Gossip
from nexusd.host.outbound_queue import OutboundQueue
from nexusd.host.ports import Verdict
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId, peer_id_bytes
from nexusd_protocols.pubsub.signed import SignedMessage

_log = structlog.get_logger(__name__)
_noise = logging.getLogger(__name__)

RPC_BYTES: Final = limits.MIB
"""The specification's maximum, and every implementation's."""
SEEN_SECONDS: Final = 120.0
"""How long a message is remembered as seen: the specification's seen_ttl."""
SEEN_MESSAGES: Final = 200_000
"""At 20 bytes of bookkeeping each of 46-byte ids, about 30 MiB: 1,600 messages a second for two minutes."""
INBOX_BYTES: Final = 16 * limits.MIB
"""Accepted messages of one topic that wait for a slow receiver."""
READ_BYTES: Final = 64 * limits.KIB

_FORWARDER_FAULTS: Final = frozenset({"bad_key", "bad_seqno", "bad_topic", "bad_signature"})
"""What no honest implementation forwards. Everything else an honest peer may have passed on in good faith."""

Validate = Callable[[PeerId, SignedMessage], Verdict]
Deliver = Callable[[PeerId, SignedMessage], Awaitable[None]]
Charge = Callable[[PeerId, str, int], None]


class SeenMessages:
    """Message ids for SEEN_SECONDS, by the loop's clock."""

    def __init__(self, seconds: float = SEEN_SECONDS, size: int = SEEN_MESSAGES) -> None:
        self._seconds = seconds
        self._size = size
        self._ids: OrderedDict[bytes, float] = OrderedDict()

    def add(self, message_id: bytes) -> None:
        """Remember one."""
        now = trio.current_time()
        self._ids[message_id] = now + self._seconds
        self._ids.move_to_end(message_id)
        while self._ids and (len(self._ids) > self._size or next(iter(self._ids.values())) <= now):
            self._ids.popitem(last=False)

    def has(self, message_id: bytes) -> bool:
        """Whether it is remembered."""
        return self._ids.get(message_id, 0.0) > trio.current_time()


class Inbox:
    """Accepted messages of one topic on their way to one receiver."""

    def __init__(self, topic: str, validate: Validate, deliver: Deliver, max_bytes: int = INBOX_BYTES) -> None:
        self.topic = topic
        self.validate = validate
        self._deliver = deliver
        self._max_bytes = max_bytes
        self._bytes = 0
        self._queue: deque[tuple[PeerId, SignedMessage]] = deque()
        self._wake = trio.Event()
        self.scope = trio.CancelScope()
        self.dropped = 0
        """Messages that found the inbox full."""

    def put(self, forwarder: PeerId, message: SignedMessage) -> None:
        """Add a message, or count it as dropped."""
        if self._bytes + len(message.data) > self._max_bytes:
            self.dropped += 1
            if self.dropped == 1:
                _log.warning("inbox_full", topic=self.topic, bytes=self._bytes)
            return
        self._queue.append((forwarder, message))
        self._bytes += len(message.data)
        self._wake.set()

    async def run(self) -> None:
        """Deliver one message after the other. A receiver that raises loses that message, and the rest arrive."""
        with self.scope:
            while True:
                while not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()
                forwarder, message = self._queue.popleft()
                self._bytes -= len(message.data)
                try:
                    await self._deliver(forwarder, message)
                except Exception:
                    _log.exception("delivery_failed", topic=self.topic)


class FrameBuffer:
    """Cuts a byte stream into length-prefixed frames (unsigned varint)."""

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are now complete. Raises RemoteProtocolError `rpc_too_large`, `bad_length`."""
        self._buffer += data
        frames = []
        start = 0
        while (header := self._header(start)) is not None:
            begin, length = header
            if len(self._buffer) - begin < length:
                break
            frames.append(bytes(self._buffer[begin : begin + length]))
            start = begin + length
        del self._buffer[:start]
        return frames

    def _header(self, start: int) -> tuple[int, int] | None:
        length = 0
        for index in range(4):
            if start + index >= len(self._buffer):
                return None
            byte = self._buffer[start + index]
            length |= (byte & 0x7F) << (7 * index)
            if length > self._max_frame:
                raise RemoteProtocolError("rpc_too_large", f"over {self._max_frame} bytes", penalty=10)
            if byte < 0x80:
                return start + index + 1, length
        raise RemoteProtocolError("bad_length", "a varint over four bytes", penalty=10)


class Pubsub(stock.Pubsub):  # type: ignore[misc] # libp2p is not typed
    """Stock peers and subscriptions, with our reading, writing and validating."""

    def __init__(self, host: BasicHost, router: Gossip, charge: Charge) -> None:
        stock.RpcQueue = OutboundQueue
        stock.env_to_send_in_RPC = lambda _host: (b"", False)
        super().__init__(host, router, strict_signing=True, max_inbound_rpc_size=RPC_BYTES)
        vars(self)["seen_messages"].stop()  # the stock cache has a thread, and the wall clock
        self.seen_messages: SeenMessages = SeenMessages()
        self._charge = charge
        self._registering: set[ID] = set()
        self._reading: Counter[ID] = Counter()
        self.inboxes: dict[str, Inbox] = {}

    def get_hello_packet(self) -> Any:
        """Our topics. Never an empty message: some readers take that for the end."""
        hello = super().get_hello_packet()
        hello.ClearField("senderRecord")
        if not hello.subscriptions:
            hello.control.SetInParent()
        return hello

    def _build_announce_rpc(self, topic_id: str, subscribe: bool) -> Any:
        rpc, option = super()._build_announce_rpc(topic_id, subscribe)
        rpc.ClearField("senderRecord")
        return rpc, option

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """One at a time: two connections made at once would leave two streams and a queue that nobody empties."""
        if peer_id in self._registering or not self._peer_is_connected(peer_id):
            return  # a stream to a peer that has gone would dial it
        self._registering.add(peer_id)
        try:
            await super()._handle_new_peer(peer_id)
        finally:
            self._registering.discard(peer_id)

    async def handle_sending_messages(self, peer_id: ID, stream: Any, queue: OutboundQueue) -> None:
        """Write what the queue holds, the only writer of this stream, until the stream or its connection ends."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_closed, stream.swarm_conn, nursery.cancel_scope)
                while (batch := await queue.pop()) is not None:
                    await stream.write(batch)
                nursery.cancel_scope.cancel()
        except* Exception as errors:
            _noise.debug("pubsub stream to %s: %r", peer_id, errors.exceptions)
        finally:
            if self.peers.get(peer_id) is stream:
                self._handle_dead_peer(peer_id)
            await reset_stream(stream)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """Our stream to a peer ended. Who connected anew before its old connection was buried stays known: stock
        code keeps the dead stream, and forgets what the peer has just said on a new one."""
        self._clear_pending_announce_retries_for_peer(peer_id)
        if self.peers.pop(peer_id, None) is not None:
            self.peer_queues.pop(peer_id).close()
            self.router.remove_peer(peer_id)
        if not self._reading[peer_id]:
            self._forget_all_subscriptions(peer_id)
        if self._peer_is_connected(peer_id):
            self._schedule_peer_stream_retry(peer_id)

    async def flush(self) -> None:
        """Until everything that was queued is with the transport."""
        for queue in list(self.peer_queues.values()):
            await queue.wait_until_empty()

    async def continuously_read_stream(self, stream: Any) -> None:
        """Read a peer's RPCs until it ends or errs."""
        peer_id: ID = stream.muxed_conn.peer_id
        frames = FrameBuffer(self.max_inbound_rpc_size)
        self._reading[peer_id] += 1
        try:
            while self.manager.is_running:
                for raw in frames.feed(await stream.read(READ_BYTES)):
                    await self._handle_rpc(peer_id, raw)
        except StreamEOF:
            await stream.close()
        except RemoteProtocolError as error:
            self._charge(PeerId(str(peer_id)), error.code, error.penalty)
            await reset_stream(stream)
        except Exception as error:
            _noise.debug("pubsub stream of %s: %r", peer_id, error)
            await reset_stream(stream)
        finally:
            self._reading[peer_id] -= 1
            if not self._reading[peer_id]:
                del self._reading[peer_id]
                self._forget_all_subscriptions(peer_id)

    async def _handle_rpc(self, peer_id: ID, raw: bytes) -> None:
        rpc = rpc_pb2.RPC()
        try:
            rpc.ParseFromString(raw)
        except Exception as error:
            # protobuf's DecodeError, whichever implementation of it is loaded
            raise RemoteProtocolError("bad_protobuf", str(error), penalty=10) from error
        for message in rpc.publish:
            await self.push_msg(peer_id, message)
        for option in rpc.subscriptions[: self.max_subscriptions_per_peer]:
            # protobuf gives bytes for text that is not UTF-8
            if isinstance(option.topicid, str) and 0 < len(option.topicid) <= limits.TOPIC_BYTES:
                self.handle_subscription(peer_id, option)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, peer_id)

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> None:
        """Judge a message, hand it to its topic's inbox and forward it."""
        await trio.lowlevel.checkpoint()
        message_id = msg.from_id + msg.seqno
        inbox = self.inboxes.get(msg.topicIDs[0]) if len(msg.topicIDs) == 1 else None
        if inbox is None or self.seen_messages.has(message_id):
            return
        forwarder = PeerId(str(msg_forwarder))
        try:
            message = SignedMessage.from_fields(
                from_id=msg.from_id,
                data=msg.data,
                seqno=msg.seqno,
                topic_ids=list(msg.topicIDs),
                signature=msg.signature,
                key=msg.key,
            )
            if not message.verify():
                raise RemoteProtocolError("bad_signature", penalty=10)
        except RemoteProtocolError as error:
            if error.code in _FORWARDER_FAULTS:
                self._charge(forwarder, error.code, error.penalty)
            return
        # only now: an unsigned message must not take the id of another
        self.seen_messages.add(message_id)
        if msg.from_id == self.my_id.to_bytes():
            return
        verdict = self._judge(inbox, forwarder, message)
        if verdict == "accept":
            inbox.put(forwarder, message)
            await self.router.publish(msg_forwarder, msg)
        elif verdict == "reject":
            self._charge(forwarder, "rejected_message", 5)

    def _judge(self, inbox: Inbox, forwarder: PeerId, message: SignedMessage) -> Verdict:
        try:
            return inbox.validate(forwarder, message)
        except Exception:
            _log.exception("validator_failed", topic=inbox.topic)
            return "ignore"


async def _cancel_when_closed(connection: Any, scope: trio.CancelScope) -> None:
    await connection.event_closed.wait()
    scope.cancel()


class TopicMesh:
    """Implements `ports.Topics` over one `Pubsub`."""

    def __init__(self, pubsub: Pubsub, router: Gossip) -> None:
        self._pubsub = pubsub
        self._router = router
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Deliver in this nursery from now on."""
        self._nursery = nursery

    async def join(self, topic: str, validate: Validate, deliver: Deliver) -> None:
        """Subscribe, as `ports.Topics.join`. Joining again replaces the two functions."""
        if self._nursery is None:
            raise RuntimeError("the host is not running")
        if (old := self._pubsub.inboxes.get(topic)) is not None:
            old.scope.cancel()
        inbox = self._pubsub.inboxes[topic] = Inbox(topic, validate, deliver)
        self._nursery.start_soon(inbox.run)
        await self._pubsub.subscribe(topic)

    async def leave(self, topic: str) -> None:
        """Unsubscribe. What was not delivered yet is dropped."""
        inbox = self._pubsub.inboxes.pop(topic, None)
        if inbox is not None:
            inbox.scope.cancel()
            await self._pubsub.unsubscribe(topic)

    async def publish(self, message: SignedMessage) -> int:
        """Send a signed message, as `ports.Topics.publish`."""
        packed = rpc_pb2.Message(
            from_id=peer_id_bytes(message.sender),
            data=message.data,
            seqno=message.seqno,
            topicIDs=[message.topic],
            signature=message.signature,
        )
        self._pubsub.seen_messages.add(packed.from_id + packed.seqno)
        return await self._router.publish_own(packed)

    def peers(self, topic: str) -> Sequence[PeerId]:
        """Connected peers that are subscribed."""
        return [PeerId(str(peer)) for peer in self._pubsub.peer_topics.get(topic, ())]

    def dropped(self) -> int:
        """Messages lost to slow peers and slow receivers since the start."""
        return self._router.dropped + sum(inbox.dropped for inbox in self._pubsub.inboxes.values())
