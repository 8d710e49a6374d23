"""The JSON-RPC machine: every request is decoded and answered, and no cut of the bytes changes anything."""

from __future__ import annotations

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.connection import Connection, Invalid, Notification, Request, Response, decode_params

_MAX_LINE = 4000

SEEDS = [
    b"\x03" + b'{"jsonrpc":"2.0","id":1,"method":"room.send","params":{"room":"general","content":"hi"}}\n',
    b"\x10" + b'[{"jsonrpc":"2.0","id":"a","method":"node.status"},{"jsonrpc":"2.0","method":"invoke.credit"},7]\n',
    b"\x00" + b'{"jsonrpc":"2.0","id":1,"result":{"x":[1,2]}}\n{"jsonrpc":"2.0","id":1,"result":1}\n',
    b"\x05" + b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no","data":{"code":"BUSY"}}}\n',
    b"\x40" + b'{"jsonrpc":"2.0","method":"invoke.input","params":{"invocation":"i1","data":{"a":1.5},"final":true}}\n',
    b"\x01" + b"{}\n[]\n1\n" * 20,
]


def _run(pieces: list[bytes]) -> list[object]:
    connection = Connection(max_line=_MAX_LINE, lines_per_receive=7)
    connection.request("capability.invoke", {})
    said: list[object] = []
    try:
        for piece in pieces:
            events = connection.receive(piece)
            while events or connection.more:
                said += [_answer(connection, event) for event in events]
                events = connection.receive(b"") if connection.more else []
    except RemoteProtocolError as error:
        said.append(error.code)
    return said


def _answer(connection: Connection, event: object) -> object:
    match event:
        case Request():
            row = schema.METHODS.get(event.method)
            if row is None:
                return connection.error(event.id, Refusal("method_not_found"))
            params = decode_params(event.params, row.params)
            if isinstance(params, Refusal):
                return connection.error(event.id, params)
            return connection.result(event.id, params)
        case Notification():
            return event.method, bytes(event.params), event.size
        case Response():
            return event.id, None if event.result is None else bytes(event.result), event.error
        case Invalid():
            return event.code, event.reply
    raise AssertionError(event)


def target(data: bytes) -> None:
    size, stream = (data[0] or 256, data[1:8192]) if data else (1, b"")
    assert _run([stream[at : at + size] for at in range(0, len(stream), size)]) == _run([stream])
