"""Calls and capabilities in memory, for testing the doors: the same interface as the daemon's."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import trio

from nexusd.services.capabilities.ports import CallError, CallFailed, End, Output
from nexusd_protocols.ndjson import json_size
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.empty_services import ALICE


class FakeCall:
    """Both ends of a call in memory: a `Call` for the caller, an `Incoming` for the provider. Channels of no size, so
    that each side waits for the other as over a network that is full."""

    def __init__(self, invocation: str, params: schema.InvokeParams) -> None:
        self.invocation = invocation
        self.capability = params.capability
        self.caller = ALICE
        self.input_format = params.input_format
        self.output_mode = "stream" if params.stream else "unary"
        self.max_duration_ms = params.max_duration_ms
        self.max_output_bytes = params.max_output_bytes
        self.metadata = None
        self.cancelled = ""
        self.emitted = 0
        self.emitted_bytes = 0
        self.received_bytes = 0
        self.ended = trio.Event()
        self.over = trio.Event()
        self.scope = trio.CancelScope()
        self._input_send, self._input = trio.open_memory_channel[tuple[Any, bool]](math.inf if params.final else 0)
        self._output_send, self._output = trio.open_memory_channel[Output | End](0)
        if params.input is not msgspec.UNSET:
            self._initial: list[tuple[Any, bool]] = [(params.input, params.final)]
        else:
            self._initial = [(msgspec.UNSET, True)] if params.final else []

    async def send(self, data: Any, final: bool) -> None:
        if not self.ended.is_set():
            await self._input_send.send((data, final))

    async def receive(self) -> Output | End:
        return await self._output.receive()

    def ready(self) -> list[Output]:
        return []

    ending = False

    def input_ready(self) -> tuple[Any, bool] | None:
        return None

    input_over = False

    async def cancel(self, reason: str) -> None:
        self.cancelled = self.cancelled or reason
        self.scope.cancel()

    async def ended_or_cancelled(self) -> None:
        """Wait until somebody cancelled it, or it ended; nobody needs to receive its end."""
        while not (self.cancelled or self.ended.is_set()):
            await trio.sleep(0.001)

    unit = ""

    async def count(self, units: int) -> None:
        await trio.lowlevel.checkpoint()

    async def emit(self, event: str, data: Any, units: int | None = None) -> None:
        size = json_size(data)
        if self.emitted_bytes + size > self.max_output_bytes:
            raise CallFailed("OUTPUT_TOO_LARGE", "more output than the caller takes")
        await self._output_send.send(Output(self.emitted, event, data))
        self.emitted += 1
        self.emitted_bytes += size

    async def emit_all(self, pieces: Sequence[tuple[str, Any, int | None]]) -> None:
        for piece in pieces:
            await self.emit(*piece)

    async def input(self) -> tuple[Any, bool] | None:
        return await self._next()

    async def _next(self) -> tuple[Any, bool] | None:
        if self._initial:
            piece = self._initial.pop(0)
            self._final = piece[1]
            return piece
        if self._final:
            return None
        piece = await self._input.receive()
        self._final = piece[1]
        if piece[0] is not msgspec.UNSET:
            self.received_bytes += json_size(piece[0])
        return piece

    _final = False

    async def run(self, provider: Callable[[Any], Awaitable[None]]) -> None:
        """Let the provider answer, and end the call as it went."""
        error: CallError | None = None
        with self.scope:
            try:
                await provider(_ProviderSide(self))
            except CallFailed as failure:
                error = CallError("invoke_failed", failure.message, failure.code)
        if self.scope.cancelled_caught:
            error = CallError("invoke_cancelled", self.cancelled, "CANCELLED")
        self.ended.set()
        await self._output_send.send(End(error, self.received_bytes, self.emitted_bytes, 1))
        self.over.set()


class _ProviderSide:
    """The `Incoming` of a FakeCall: `receive` means input here."""

    def __init__(self, call: FakeCall) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def receive(self) -> tuple[Any, bool] | None:
        return await self._call.input()


class FakeCapabilities:
    """Capabilities that functions or connections answer."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.functions: dict[str, Callable[[Any], Awaitable[None]]] = {}
        self.owners: dict[str, Any] = {}
        self.calls: list[FakeCall] = []
        self.changed = trio.Event()
        self.telling: trio.Event | None = None
        """While it is there, registering tells others until it is set."""

    async def wait_until(self, state: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the owners of the names are as `state` says."""
        while not state(self.owners):
            await self.changed.wait()

    def _change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def list(self, params: schema.CapabilityListParams) -> schema.CapabilityList:
        names = sorted({*self.functions, *self.owners})
        return schema.CapabilityList(
            peer=ALICE, answered=True, capabilities=[schema.Capability(name=name, available=True) for name in names]
        )

    async def serve(self, params: schema.CapabilityServeParams) -> schema.Capability:
        return schema.Capability(name=params.name, available=True)

    async def register(self, params: schema.CapabilityRegisterParams, provider: Any) -> schema.Done | Refusal:
        if params.name in self.owners:
            return Refusal("capability_taken")
        self.owners[params.name] = provider
        self._change()
        if self.telling is not None:
            await self.telling.wait()
        return schema.Done()

    async def unregister(self, params: schema.CapabilityNameParams, owner: Any) -> schema.Done | Refusal:
        if self.owners.get(params.name) is not owner:
            return Refusal("capability_unknown")
        del self.owners[params.name]
        self._change()
        return schema.Done()

    def release(self, provider: Any) -> None:
        self.owners = {name: owner for name, owner in self.owners.items() if owner is not provider}
        self._change()

    async def invoke(self, params: schema.InvokeParams) -> FakeCall | Refusal:
        provider = self.functions.get(params.capability)
        if provider is None and params.capability in self.owners:
            provider = self.owners[params.capability].call
        if provider is None:
            return Refusal("capability_unknown")
        call = FakeCall(f"i{len(self.calls)}", params)
        self.calls.append(call)
        self._nursery.start_soon(call.run, provider)
        return call
