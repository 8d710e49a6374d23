"""An incoming call without a network: what a provider is given, and what it emitted."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import trio

from nexusd.services.capabilities.ports import CallFailed


class FakeIncoming:
    """A call whose input is all there. `emitted` grows as the provider emits; `slow` makes `emit` wait for it."""

    invocation = "test"
    capability = "test"
    caller = "alice"
    max_duration_ms = 30_000
    metadata: dict[str, Any] | None = None
    cancelled = ""

    def __init__(
        self,
        *pieces: Any,
        stream: bool = True,
        input_format: str = "text/plain",
        max_output_bytes: int = 1 << 20,
        final: bool = True,
        unit: str = "",
    ) -> None:
        self.output_mode: Literal["stream", "unary"] = "stream" if stream else "unary"
        self.input_format = input_format
        self.max_output_bytes = max_output_bytes
        self.emitted: list[tuple[str, Any]] = []
        self.unit = unit
        self.counted: list[int | None] = []
        """What each piece was said to count, and what came behind them."""
        self.some = trio.Event()
        self._pieces = [(piece, False) for piece in pieces]
        if final:
            self._pieces.append((msgspec.UNSET, True))
        self._final = final

    async def receive(self) -> tuple[Any, bool] | None:
        await trio.lowlevel.checkpoint()
        if self._pieces:
            return self._pieces.pop(0)
        if not self._final:
            await trio.sleep_forever()
        return None

    async def count(self, units: int) -> None:
        await trio.lowlevel.checkpoint()
        self.counted.append(units)

    async def emit(self, event: str, data: Any, units: int | None = None) -> None:
        await trio.lowlevel.checkpoint()
        self.counted.append(units)
        if sum(len(str(item)) for _, item in self.emitted) + len(str(data)) > self.max_output_bytes:
            raise CallFailed("OUTPUT_TOO_LARGE", "too much")
        self.emitted.append((event, data))
        self.some.set()

    def text(self) -> str:
        """All text emitted, joined."""
        return "".join(str(data) for _, data in self.emitted)
