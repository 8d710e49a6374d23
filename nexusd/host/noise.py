"""Noise as this host speaks it: py-libp2p's handshake, and messages of our own after it. (specs/noise.md)

Fault C5: a stock session counts its nonce on and then waits for the socket, so a write that is cancelled there costs
the connection. It also reads each message with two reads of its own. Here one read takes what has come, all messages
in it are decrypted, and what is sent goes out in one piece.
"""

from __future__ import annotations

from typing import Any, Final

import trio
from libp2p import create_new_x25519_key_pair
from libp2p.abc import ISecureTransport
from libp2p.crypto.keys import KeyPair
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.security.base_session import BaseSession
from libp2p.security.noise.transport import Transport

from nexusd.host.waiting import Turns
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.noise.transport import NoiseTransport

READ_BYTES: Final = 256 * limits.KIB
"""One read of the socket: four full messages."""
WRITE_SECONDS: Final = 10.0
"""For a write that may not be given up half-way. Only negotiation writes so, a few bytes at a time."""


class NoiseSecurity(ISecureTransport):  # type: ignore[misc] # libp2p is not typed
    """Makes an authenticated connection of a raw one: `/noise` for an upgrader."""

    def __init__(self, keys: KeyPair) -> None:
        self._handshake = Transport(keys, noise_privkey=create_new_x25519_key_pair().private_key)

    async def secure_inbound(self, conn: Any) -> NoiseConnection:
        """The dialler proves who it is. Raises what py-libp2p's handshake raises."""
        return NoiseConnection(await self._handshake.secure_inbound(conn), conn)

    async def secure_outbound(self, conn: Any, peer_id: ID) -> NoiseConnection:
        """The listener proves that it is `peer_id`. Raises what py-libp2p's handshake raises."""
        return NoiseConnection(await self._handshake.secure_outbound(conn, peer_id), conn)


class NoiseConnection(BaseSession):  # type: ignore[misc] # libp2p is not typed
    """`session` is what the handshake gave: its keys are used, and nothing else of it."""

    def __init__(self, session: Any, raw: Any) -> None:
        super().__init__(
            local_peer=session.local_peer,
            local_private_key=session.local_private_key,
            remote_peer=session.remote_peer,
            remote_permanent_pubkey=session.remote_permanent_pubkey,
            is_initiator=session.is_initiator,
        )
        protocol = session.conn.noise_state.noise_protocol
        sends, receives = protocol.cipher_state_encrypt, protocol.cipher_state_decrypt
        self._transport = NoiseTransport(
            bytes(sends.k), bytes(receives.k), send_nonce=sends.n, receive_nonce=receives.n
        )
        self._raw = raw
        self._unread = b""
        self._writing = Turns()
        self._torn = False

    async def receive(self) -> list[bytes]:
        """What has come, in order; empty at the end of the connection. Cancelling it loses nothing.

        Raises RemoteProtocolError `short_message`, `bad_tag`, `nonce_exhausted`, `cut_short`, and what the transport
        raises of its own.
        """
        if self._unread:
            unread, self._unread = self._unread, b""
            return [unread]
        while True:
            data = await self._raw.read(READ_BYTES)
            if not data:
                self._transport.receive_eof()
                return []
            texts = self._transport.receive(data)
            if texts:
                return texts

    async def send(self, *texts: bytes) -> None:
        """Send texts in one piece. For the one task that sends: a connection on which it is cancelled is torn, and
        takes nothing more. Raises ConnectionClosedError, and what the transport raises of its own."""
        async with self._writing:
            await self._send(texts)

    async def _send(self, texts: tuple[bytes, ...]) -> None:
        if self._torn:
            raise ConnectionClosedError("a write was given up half-way")
        self._torn = True
        await self._raw.write(bytes(self._transport.send(*texts)))
        self._torn = False

    async def read(self, n: int | None = None) -> bytes:
        """1 to `n` bytes. Raises ConnectionClosedError at the end, since who reads here is in the midst of something,
        and for what the peer did wrong."""
        if n == 0:
            return b""
        try:
            data = b"".join(await self.receive())
        except RemoteProtocolError as error:
            raise ConnectionClosedError(str(error)) from error
        if not data:
            raise ConnectionClosedError("the connection has ended")
        if n is not None and 0 <= n < len(data):
            data, self._unread = data[:n], data[n:]
        return data

    async def write(self, data: bytes) -> None:
        """Send it all: begun, it is not cancelled. Raises ConnectionClosedError."""
        async with self._writing:
            with trio.move_on_after(WRITE_SECONDS, shield=True):
                await self._send((data,))
                return
        raise ConnectionClosedError("the peer takes nothing")

    async def close(self) -> None:
        """Close the transport below."""
        await self._raw.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        """IP and port of the other end."""
        address: tuple[str, int] | None = self._raw.get_remote_address()
        return address

    def get_transport_addresses(self) -> list[Any]:
        """Multiaddrs of the other end."""
        return list(self._raw.get_transport_addresses())

    def get_connection_type(self) -> Any:
        """Direct or relayed."""
        return self._raw.get_connection_type()
