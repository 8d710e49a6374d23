"""A client that speaks JSON lines by hand, so that a test can say anything, and see every byte."""

from __future__ import annotations

import json
from typing import Any

import trio


class RawClient:
    """A connection to a socket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = bytearray()
        self.bytes_read = 0

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def say(self, message: Any) -> None:
        """Send one JSON value as a line."""
        await self.write(json.dumps(message).encode() + b"\n")

    async def ask(self, method: str, params: Any = None, request_id: Any = 1) -> None:
        await self.say({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}})

    async def tell(self, method: str, params: Any) -> None:
        await self.say({"jsonrpc": "2.0", "method": method, "params": params})

    async def line(self) -> bytes:
        """The next line; empty at the end."""
        while b"\n" not in self.buffer:
            data = await self.stream.receive_some(65536)
            if not data:
                return b""
            self.bytes_read += len(data)
            self.buffer += data
        line, _, rest = bytes(self.buffer).partition(b"\n")
        self.buffer = bytearray(rest)
        return line

    async def hear(self) -> Any:
        """The next JSON value; None at the end."""
        line = await self.line()
        return json.loads(line) if line else None

    async def call(self, method: str, params: Any = None, request_id: Any = 1) -> Any:
        """Ask, and the answer to it; what comes between is dropped."""
        await self.ask(method, params, request_id)
        while (message := await self.hear()) is not None:
            if message.get("id") == request_id and "method" not in message:
                return message
        return None

    async def hear_until(self, method: str) -> Any:
        """The params of the next notification of that name."""
        while (message := await self.hear()) is not None:
            if message.get("method") == method:
                return message["params"]
        return None

    async def close(self) -> None:
        await self.stream.aclose()
