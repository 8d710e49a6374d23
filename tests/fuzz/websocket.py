"""A WebSocket after its handshake: frames, honest and not, in pieces.

The first byte says into what pieces the rest is cut, and whether the input is frames (masked here, so that mutations
reach what is behind the mask) or bytes as they are.
"""

from __future__ import annotations

import trio
from trio.testing import memory_stream_pair
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from nexusd.host.websocket_connection import CREDIT_BYTES, MESSAGE_BYTES, PONGS, WebSocketConnection
from nexusd_protocols.errors import RemoteProtocolError

_CODES = {"websocket_frame", "websocket_flood", "websocket_text"}
_OPCODES = list(Opcode)

SEEDS = [
    b"\x05" + b"\x82\x05hello" + b"\x89\x02hi" + b"\x88\x02\x03\xe8",
    b"\x03" + b"\x02\x02ab" + b"\x80\x02cd",
    b"\x07" + b"\x81\x04text",
    b"\x01" + b"\x82\x00" * 20,
    b"\x84" + b"\x82\x85\x00\x00\x00\x00hello",
    b"\x84" + b"\x82\xfe\x00\x7e\x00\x00\x00\x00" + bytes(126),
    b"\x84" + b"\x82\xff" + b"\xff" * 8,
]


def _wire(data: bytes) -> tuple[bytes, bytes]:
    """Two bytes of head a frame, then so much payload; and what of it is payload of data frames."""
    wire, sent = bytearray(), bytearray()
    while len(data) >= 2:
        opcode, length = _OPCODES[data[0] % 16 % len(_OPCODES)], data[1] & 0x7D
        payload, data, fin = data[2 : 2 + length], data[2 + length :], bool(data[0] & 0x80)
        wire += Frame(opcode, payload, fin or opcode >= 8).serialize(mask=True)
        if opcode in (Opcode.BINARY, Opcode.CONT):
            sent += payload
    return bytes(wire), bytes(sent)


async def _receive(wire: bytes, sent: bytes | None, size: int) -> None:
    near, far = memory_stream_pair()
    protocol = ServerProtocol(state=State.OPEN, max_size=MESSAGE_BYTES)
    bob = WebSocketConnection(far, protocol, ("192.0.2.1", 1))
    got = bytearray()

    async def send() -> None:
        for start in range(0, len(wire), size):
            await near.send_all(wire[start : start + size])
        await near.send_stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        code = ""
        try:
            while more := await bob.read(size):
                assert len(more) <= size
                got += more
        except RemoteProtocolError as error:
            code = error.code
        assert not code or code in _CODES
        assert len(protocol.writes) <= PONGS + 2
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(near)
    await trio.aclose_forcefully(far)
    assert bob._credit._left <= CREDIT_BYTES
    if sent is not None:
        assert sent.startswith(got)


def target(data: bytes) -> None:
    """What arrives is the beginning of what was sent; what breaks the rules is named."""
    if not data:
        return
    size = data[0] & 0x7F or 128
    if data[0] & 0x80:
        trio.run(_receive, data[1:4096], None, size)
    else:
        trio.run(_receive, *_wire(data[1:4096]), size)
