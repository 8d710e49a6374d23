"""RPCs as protobuf bytes. (specs/gossipsub.md §2)

Strict where it matters, and never fatal for one bad entry: bytes that are no protobuf are refused as a whole; a message
that is none becomes a `Malformed`; entries beyond the bounds, or with names that are too long, are counted and dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from google.protobuf.message import DecodeError

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.gossipsub.params import Bounds
from nexusd_protocols.gossipsub.rpc import (
    Control,
    Graft,
    IDontWant,
    IHave,
    IWant,
    Malformed,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
)
from nexusd_protocols.identity import peer_id_bytes
from nexusd_protocols.pubsub import rpc_pb2
from nexusd_protocols.pubsub.signed import SignedMessage

FORWARDER_FAULTS: Final = frozenset({"bad_key", "bad_seqno", "bad_topic", "bad_signature"})
"""What no honest implementation forwards. Everything else an honest peer may have passed on in good faith: authors with
keys of other kinds, content that only we bound."""

_EntryT = TypeVar("_EntryT")
_DEFAULTS: Final = Bounds()


def encode(rpc: Rpc) -> bytes:
    """The protobuf of an RPC. `malformed` and `dropped` are the receiver's, and not written."""
    wire = rpc_pb2.RPC()
    for option in rpc.subscriptions:
        wire.subscriptions.add(subscribe=option.subscribe, topicid=option.topic)
    for message in rpc.messages:
        wire.publish.add(
            from_id=peer_id_bytes(message.sender),
            data=message.data,
            seqno=message.seqno,
            topic=message.topic,
            signature=message.signature,
        )
    if rpc.control is not None:
        _encode_control(rpc.control, wire.control)
    return wire.SerializeToString()


def _encode_control(control: Control, wire: rpc_pb2.ControlMessage) -> None:
    wire.SetInParent()
    for ihave in control.ihave:
        wire.ihave.add(topic_id=ihave.topic, message_ids=ihave.message_ids)
    for iwant in control.iwant:
        wire.iwant.add(message_ids=iwant.message_ids)
    for graft in control.graft:
        wire.graft.add(topic_id=graft.topic)
    for prune in control.prune:
        pruned = wire.prune.add(topic_id=prune.topic)
        if prune.backoff is not None:
            pruned.backoff = prune.backoff
        for peer in prune.peers:
            pruned.peers.add(peer_id=peer.peer_id, signed_peer_record=peer.signed_record or None)
    for idontwant in control.idontwant:
        wire.idontwant.add(message_ids=idontwant.message_ids)


def decode(raw: bytes, bounds: Bounds = _DEFAULTS) -> Rpc:
    """The RPC in these bytes. Raises RemoteProtocolError: `rpc_too_large`, `bad_protobuf`."""
    if len(raw) > bounds.rpc_bytes:
        raise RemoteProtocolError("rpc_too_large", f"over {bounds.rpc_bytes} bytes", penalty=10)
    try:
        wire = rpc_pb2.RPC.FromString(raw)
    except DecodeError as error:
        raise RemoteProtocolError("bad_protobuf", str(error), penalty=10) from error
    return _Reader(bounds).rpc(wire)


class _Reader:
    """Reads one RPC and counts what it drops."""

    __slots__ = ("_bounds", "_dropped", "_unread")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._dropped = 0
        self._unread = 0
        """Ids beyond `rpc_ids`."""

    def rpc(self, wire: rpc_pb2.RPC) -> Rpc:
        messages: list[SignedMessage] = []
        malformed: list[Malformed] = []
        for fields in self._first(wire.publish, self._bounds.rpc_messages):
            message = self._message(fields)
            if isinstance(message, SignedMessage):
                messages.append(message)
            else:
                malformed.append(message)
        options = wire.subscriptions
        subscriptions = tuple(self._subscriptions(options)) if options else ()
        control = self._control(wire.control) if wire.HasField("control") else None
        if self._unread > self._bounds.rpc_ids_unread:
            self._dropped += self._unread
        return Rpc(subscriptions, tuple(messages), control, tuple(malformed), self._dropped)

    def _message(self, fields: rpc_pb2.Message) -> SignedMessage | Malformed:
        topic = fields.topic
        try:
            return SignedMessage.from_fields(
                from_id=fields.from_id,
                data=fields.data,
                seqno=fields.seqno,
                topic_ids=(topic,),
                signature=fields.signature,
                key=fields.key,
            )
        except RemoteProtocolError as error:
            known = topic if self._topic_fits(topic) else None
            return Malformed(known, error.code, error.code in FORWARDER_FAULTS)

    def _subscriptions(self, options: Sequence[rpc_pb2.RPC.SubOpts]) -> Iterator[Subscription]:
        for option in self._named(options, "topicid"):
            yield Subscription(option.topicid, option.subscribe)

    def _control(self, wire: rpc_pb2.ControlMessage) -> Control:
        bounds = self._bounds
        left = bounds.rpc_ids
        ihave = []
        for entry in self._named(wire.ihave, "topic_id"):
            ids = self._ids(entry.message_ids, left)
            left -= len(ids)
            ihave.append(IHave(entry.topic_id, ids))
        iwant, idontwant = self._id_lists(wire.iwant), self._id_lists(wire.idontwant)
        return Control(
            tuple(ihave),
            tuple(IWant(ids) for ids in iwant),
            tuple(Graft(entry.topic_id) for entry in self._named(wire.graft, "topic_id")),
            tuple(
                Prune(
                    entry.topic_id,
                    entry.backoff if entry.HasField("backoff") else None,
                    tuple(self._suggestions(entry.peers)) if entry.peers else (),
                )
                for entry in self._named(wire.prune, "topic_id")
            ),
            tuple(IDontWant(ids) for ids in idontwant),
        )

    def _suggestions(self, peers: Sequence[rpc_pb2.PeerInfo]) -> Iterator[PeerInfo]:
        for peer in self._first(peers, self._bounds.px_peers):
            if (
                0 < len(peer.peer_id) <= self._bounds.message_id_bytes
                and len(peer.signed_peer_record) <= self._bounds.px_record_bytes
            ):
                yield PeerInfo(peer.peer_id, peer.signed_peer_record)
            else:
                self._dropped += 1

    def _id_lists(self, entries: Sequence[rpc_pb2.ControlIWant | rpc_pb2.ControlIDontWant]) -> list[tuple[bytes, ...]]:
        left = self._bounds.rpc_ids
        lists = []
        for entry in self._first(entries, self._bounds.rpc_entries):
            ids = self._ids(entry.message_ids, left)
            left -= len(ids)
            lists.append(ids)
        return lists

    def _ids(self, ids: Sequence[bytes], left: int) -> tuple[bytes, ...]:
        longest = self._bounds.message_id_bytes
        read = min(left, len(ids))
        kept = tuple([message_id for message_id in islice(ids, read) if 0 < len(message_id) <= longest])
        self._dropped += read - len(kept)
        self._unread += len(ids) - read
        return kept

    def _named(self, entries: Sequence[_EntryT], field: str) -> Iterator[_EntryT]:
        """The entries whose topic fits."""
        for entry in self._first(entries, self._bounds.rpc_entries):
            if self._topic_fits(getattr(entry, field)):
                yield entry
            else:
                self._dropped += 1

    def _first(self, entries: Sequence[_EntryT], most: int) -> Iterable[_EntryT]:
        if len(entries) <= most:
            return entries
        self._dropped += len(entries) - most
        return islice(entries, most)

    def _topic_fits(self, topic: object) -> bool:
        # protobuf gives bytes where a string on the wire is not UTF-8, whatever its types say
        return isinstance(topic, str) and 0 < len(topic.encode()) <= self._bounds.topic_bytes
