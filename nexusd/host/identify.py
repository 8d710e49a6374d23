"""identify and identify/push (libp2p specs, identify/README.md): what peers say of themselves, and what we say.

The stock client reads with `read_exactly`, which gives up after 101 partial reads (fault C6), keeps what it reads
without bound, never tells anybody that it is done, and pushes nothing when a handler is added. The messages are small,
so all of it is here: one message a stream, to the end of input or a limit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import trio
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify.identify import _mk_identify_protobuf, _remote_address_to_multiaddr
from libp2p.identity.identify.pb.identify_pb2 import Identify as IdentifyMessage
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.utils.varint import encode_uvarint
from multiaddr import Multiaddr

from nexusd.host.opener import Opener
from nexusd.host.ports import HostError, PeerIdentified
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId

_log = logging.getLogger(__name__)

IDENTIFY: Final = "/ipfs/id/1.0.0"
PUSH: Final = "/ipfs/id/push/1.0.0"

MESSAGE_BYTES: Final = 64 * 1024
"""A message of ours has about 1 KiB, one of a busy public node 8 KiB."""
EXCHANGE_SECONDS: Final = 10.0
CONNECTIONS: Final = 3
"""On how many a peer is asked, one after the other, where one breaks and another stands: when both sides dial at once,
a dialler drops what it does not need."""
ADDRESSES: Final = 32
PROTOCOLS: Final = 128
TEXT_CHARS: Final = 128
PUSH_DELAY: Final = 0.2
"""Handlers are added in groups: one push tells of the group."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One message, within bounds. None: the message did not say, as a push may."""

    agent_version: str | None
    listen_addresses: tuple[str, ...] | None
    protocols: tuple[str, ...] | None


class Identify:
    """Both sides of both protocols. `known` is called with every peer that told us of itself, again if it changes."""

    def __init__(
        self,
        host: BasicHost,
        opener: Opener,
        agent_version: str,
        known: Callable[[PeerIdentified], None],
    ) -> None:
        self._host = host
        self._opener = opener
        self._agent_version = agent_version
        self._known = known
        self._peers: dict[PeerId, PeerIdentified] = {}
        self._stale = trio.Event()
        host.set_stream_handler(TProtocol(IDENTIFY), self._answer)
        host.set_stream_handler(TProtocol(PUSH), self._receive_push)
        # the stock client would ask a second time
        host._schedule_identify = lambda *_args, **_kwargs: None

    def changed(self) -> None:
        """What we would say is new: tell everybody soon."""
        self._stale.set()

    def forget(self, peer: PeerId) -> None:
        """The peer is gone."""
        self._peers.pop(peer, None)

    async def ask(self, peer: PeerId) -> None:
        """Learn what a peer that has just connected says of itself. Failure is logged: the peer stays unidentified."""
        for _ in range(CONNECTIONS):
            connections = self._connections(peer)
            if not connections or await self._asked(peer):
                return
            if connections == self._connections(peer):
                return

    async def _asked(self, peer: PeerId) -> bool:
        stream = None
        try:
            with trio.fail_after(EXCHANGE_SECONDS):
                stream = await self._opener.open(peer, [IDENTIFY], replayable=True)
                message = decode(await _read_to_end(stream))
            await self._close(stream)
        except (HostError, ValueError, trio.TooSlowError) as error:
            _log.debug("identify of %s failed: %r", peer, error)
            if stream is not None:
                await reset_stream(stream)
            return False
        self._learn(peer, message)
        return True

    def _connections(self, peer: PeerId) -> list[Any]:
        return [each for each in self._host.get_network().get_connections(ID.from_string(peer)) if not each.is_closed]

    async def run(self) -> None:
        """Push what we say of ourselves to connected peers whenever it changes."""
        while True:
            await self._stale.wait()
            await trio.sleep(PUSH_DELAY)
            self._stale = trio.Event()
            async with trio.open_nursery() as nursery:
                for peer, said in list(self._peers.items()):
                    if PUSH in said.protocols:
                        nursery.start_soon(self._push, peer)

    async def _push(self, peer: PeerId) -> None:
        try:
            with trio.fail_after(EXCHANGE_SECONDS):
                stream = await self._opener.open(peer, [PUSH], replayable=True)
            await self._send(stream)
        except (HostError, trio.TooSlowError) as error:
            _log.debug("identify push to %s failed: %r", peer, error)

    async def _answer(self, stream: Any) -> None:
        await self._send(stream)

    async def _send(self, stream: Any) -> None:
        message = _mk_identify_protobuf(self._host, _remote_address_to_multiaddr(stream.get_remote_address()))
        message.agent_version = self._agent_version
        data = message.SerializeToString()
        with trio.move_on_after(EXCHANGE_SECONDS, shield=True):
            try:
                await stream.write(encode_uvarint(len(data)) + data)
            except Exception as error:
                _log.debug("identify: %r", error)
                await reset_stream(stream)
                return
        await self._close(stream)

    async def _close(self, stream: Any) -> None:
        """End our side and wait for the peer's, so that the stream is freed on both."""
        try:
            with trio.move_on_after(EXCHANGE_SECONDS) as scope:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
                    await stream.close_write()
                while await stream.read(1024):
                    pass
            if scope.cancelled_caught:
                await reset_stream(stream)
        except StreamEOF:
            await stream.close()
        except Exception as error:
            _log.debug("identify: %r", error)
            await reset_stream(stream)

    async def _receive_push(self, stream: Any) -> None:
        peer: PeerId = stream.peer
        try:
            with trio.fail_after(EXCHANGE_SECONDS):
                message = decode(await _read_to_end(stream))
        except ValueError as error:
            raise RemoteProtocolError("bad_identify", str(error), penalty=10) from error
        except (HostError, trio.TooSlowError) as error:
            _log.debug("identify push of %s: %r", peer, error)
            await reset_stream(stream)
            return
        await stream.close()
        self._learn(peer, message)

    def _learn(self, peer: PeerId, message: Identity) -> None:
        if not self._connections(peer):
            return
        before = self._peers.get(peer) or PeerIdentified(peer, "", (), ())
        said = {
            name: value
            for name in ("agent_version", "listen_addresses", "protocols")
            if (value := getattr(message, name)) is not None
        }
        after = replace(before, **said)
        if after != self._peers.get(peer):
            self._peers[peer] = after
            self._known(after)


def decode(data: bytes) -> Identity:
    """Decode a message with or without a length before it (older peers send none). Raises ValueError."""
    body = _after_length(data)
    message = IdentifyMessage()
    try:
        message.ParseFromString(data if body is None else body)
    except Exception as error:
        # protobuf's DecodeError, whichever implementation of it is loaded
        raise ValueError("not an identify message") from error
    return Identity(
        agent_version=_text(message.agent_version) if message.HasField("agent_version") else None,
        listen_addresses=tuple(_addresses(message.listen_addrs)) if message.listen_addrs else None,
        protocols=tuple(_text(p) for p in message.protocols[:PROTOCOLS]) if message.protocols else None,
    )


def _after_length(data: bytes) -> bytes | None:
    """What follows a varint that states exactly the length of the rest, or None."""
    length = 0
    for index, byte in enumerate(data[:3]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return data[index + 1 :] if length == len(data) - index - 1 else None
    return None


def _addresses(raw: Any) -> list[str]:
    found = []
    for item in raw[:ADDRESSES]:
        try:
            found.append(str(Multiaddr(item)))
        except Exception as error:
            # a transport that we do not know: multiaddr has many errors for it
            _log.debug("unknown address: %r", error)
    return found


def _text(text: str | bytes) -> str:
    # protobuf gives bytes for text that is not UTF-8
    shown = text if isinstance(text, str) else text.decode(errors="replace")
    return "".join(c for c in shown[:TEXT_CHARS] if c.isprintable())


async def _read_to_end(stream: Any) -> bytes:
    """Everything until the end of input. Raises ValueError over MESSAGE_BYTES, HostError if the stream breaks."""
    data = bytearray()
    try:
        while True:
            data += await stream.read(MESSAGE_BYTES)
            if len(data) > MESSAGE_BYTES:
                raise ValueError(f"over {MESSAGE_BYTES} bytes")
            if _after_length(bytes(data)) is not None:
                return bytes(data)  # some peers keep the stream open
    except StreamEOF:
        return bytes(data)
    except (ValueError, HostError):
        raise
    except Exception as error:
        raise HostError(f"the stream broke: {error!r}") from error
