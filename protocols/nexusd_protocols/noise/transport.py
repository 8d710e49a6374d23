"""Noise messages after the handshake: ChaCha20-Poly1305, one key a direction. (specs/noise.md; Noise §5.1, §11)

Each message on the wire is its length in two bytes, big-endian, and the ciphertext with its tag of 16 bytes. The nonce
is a counter: four zero bytes, then 64 bits little-endian (Noise §12).
"""

from __future__ import annotations

import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from nexusd_protocols import limits
from nexusd_protocols.errors import FLOOD, LimitExceededError, RemoteProtocolError

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
_LENGTH_BYTES: Final = 2
_LAST_NONCE: Final = 2**64 - 2  # the last value is reserved (Noise §5.1)

_nonce: Final = struct.Struct("<4xQ").pack


class NoiseTransport:
    """Both directions of a connection whose handshake is done.

    `send_key` and `receive_key` are the keys of the two cipher states that the handshake gave, the nonces where these
    stand: zero unless the handshake has already sent messages with them.
    """

    def __init__(self, send_key: bytes, receive_key: bytes, *, send_nonce: int = 0, receive_nonce: int = 0) -> None:
        self._encrypt_into = ChaCha20Poly1305(send_key).encrypt_into
        self._decrypt = ChaCha20Poly1305(receive_key).decrypt
        self._send_nonce = send_nonce
        self._receive_nonce = receive_nonce
        self._partial = bytearray()
        self._empty = 0  # messages without a text, one after the other
        self._failed = False

    def send(self, *texts: bytes | memoryview) -> bytearray:
        """The bytes that carry the texts, in one piece for one write. Each text gets messages of its own, as few as
        `limits.NOISE_TEXT_BYTES` allows; an empty one gets none.

        The nonces are used up: send what is returned, all and in order, or close the connection.
        Raises LimitExceededError `nonce` after 2^64 - 1 messages; nothing is used up then.
        """
        full = limits.NOISE_TEXT_BYTES
        messages = 0
        size = 0
        for text in texts:
            count = -(-len(text) // full)
            messages += count
            size += len(text) + count * (_LENGTH_BYTES + TAG_BYTES)
        nonce = self._send_nonce
        if nonce + messages > _LAST_NONCE + 1:
            raise LimitExceededError("nonce", "the key has encrypted as many messages as it may")
        out = bytearray(size)
        with memoryview(out) as view:
            start = 0
            for text in texts:
                for offset in range(0, len(text), full):
                    piece = text if len(text) <= full else memoryview(text)[offset : offset + full]
                    body = start + _LENGTH_BYTES
                    end = body + len(piece) + TAG_BYTES
                    out[start:body] = (end - body).to_bytes(_LENGTH_BYTES, "big")
                    self._encrypt_into(_nonce(nonce), piece, None, view[body:end])
                    nonce += 1
                    start = end
        self._send_nonce = nonce
        return out

    def receive(self, data: bytes) -> list[bytes]:
        """The texts of the messages that are now complete, empty ones left out; together they are the peer's stream.

        Raises RemoteProtocolError `short_message`, `bad_tag`, `nonce_exhausted`, `too_many_empty_messages`, once. Texts
        that came before the fault in the same bytes are dropped with it.
        """
        if self._failed:
            return []
        try:
            return self._receive(data)
        except RemoteProtocolError:
            self._failed = True
            self._partial.clear()
            raise

    def receive_eof(self) -> None:
        """The connection ended. Raises RemoteProtocolError `cut_short` within a message. It proves nothing about the
        peer's intent: anybody on the way can cut a connection, so what ends in it must be marked inside."""
        if self._partial:
            self._failed = True
            self._partial.clear()
            raise RemoteProtocolError("cut_short", "the connection ended within a Noise message")

    def _receive(self, data: bytes) -> list[bytes]:
        texts: list[bytes] = []
        partial = self._partial
        start, size = 0, len(data)
        if partial:
            # only what the message begun lacks is copied
            while start < size and (missing := self._missing()):
                partial += data[start : start + missing]
                start = min(start + missing, size)
            if self._missing():
                return texts
            if text := self._open(memoryview(bytes(partial))[_LENGTH_BYTES:]):
                texts.append(text)
            partial.clear()
        view = memoryview(data)
        while size - start >= _LENGTH_BYTES:
            body = start + _LENGTH_BYTES
            end = body + (data[start] << 8 | data[start + 1])
            if end > size:
                break
            if text := self._open(view[body:end]):
                texts.append(text)
            start = end
        partial += view[start:]
        return texts

    def _missing(self) -> int:
        """Bytes that the message begun lacks; until its length is known, those of the length."""
        partial = self._partial
        if len(partial) < _LENGTH_BYTES:
            return _LENGTH_BYTES - len(partial)
        return _LENGTH_BYTES + (partial[0] << 8 | partial[1]) - len(partial)

    def _open(self, message: memoryview) -> bytes:
        if len(message) < TAG_BYTES:
            raise RemoteProtocolError("short_message", f"{len(message)} bytes, less than a tag", penalty=10)
        if self._receive_nonce > _LAST_NONCE:
            raise RemoteProtocolError("nonce_exhausted", "more messages than the key may encrypt", penalty=10)
        try:
            text = self._decrypt(_nonce(self._receive_nonce), message, None)
        except InvalidTag as error:
            # not proven to be the peer's fault: anybody on the way can do it
            raise RemoteProtocolError("bad_tag", "a message that the peer did not encrypt so") from error
        self._receive_nonce += 1
        if text:
            self._empty = 0
        else:
            self._empty += 1
            if self._empty > limits.NOISE_EMPTY_MESSAGES:
                raise RemoteProtocolError("too_many_empty_messages", "messages without a text", penalty=FLOOD)
        return text
