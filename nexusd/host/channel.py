"""A libp2p stream with a machine on it: implements `ports.Channel`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import trio
from libp2p.network.stream.exceptions import StreamEOF

from nexusd.host.patience import Patience
from nexusd.host.ports import ConnectionLostError, DeadlineError, HostError
from nexusd.host.stream import Stream
from nexusd.host.stream_guard import reset_stream
from nexusd.host.waiting import Turns
from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.machine import StreamMachine

_log = logging.getLogger(__name__)

EventT = TypeVar("EventT")
CommandT = TypeVar("CommandT")

CHUNK_BYTES: Final = limits.NOISE_TEXT_BYTES - 12
"""One Yamux frame that fills one Noise message."""
READ_BYTES: Final = 64 * limits.KIB
WRITE_SECONDS: Final = 60.0
"""For one chunk, if the caller sets no deadline: a peer may rest, but not hold a stream for ever."""
CLOSE_SECONDS: Final = 2.0
"""For the end of what was opened lazily, which may have to say its first words yet."""
REFUSAL_SECONDS: Final = 1.0
"""For the answer to what broke the protocol; a peer that does not take it by then sees a reset instead."""
SETTLE_SECONDS: Final = 5.0
"""For a peer to agree to a protocol in which all is said already."""

Spawn = Callable[..., None]


class StreamChannel(Generic[EventT, CommandT]):
    """One stream, from its opening to its end.

    `release` is called once, when the stream is gone; `linger` starts a background task (a nursery's `start_soon`);
    `first_byte` is the deadline in seconds for the peer's first byte, if it is the one to speak.
    """

    def __init__(
        self,
        stream: Stream,
        peer: PeerId,
        protocol: str,
        machine: StreamMachine[EventT, CommandT],
        *,
        charge: Callable[[PeerId, str, int], None],
        release: Callable[[], None],
        linger: Spawn,
        first_byte: float | None,
    ) -> None:
        self._stream = stream
        self._peer = peer
        self._protocol = protocol
        self._machine = machine
        self._sent: Callable[[int], None] | None = getattr(machine, "sent", None)
        self._charge = charge
        self._release = release
        self._linger = linger
        self._patience = Patience(trio.current_time(), first_byte=first_byte)
        self._events: deque[EventT] = deque()
        self._kept = 0
        self._more = False  # the machine may hold complete input that it has not handed out yet
        self._read_ended = False
        self._write_ended = False
        self._broken = ""
        self._writing = Turns()
        self.ended = False
        """Whether the stream was closed or reset by us."""

    @property
    def peer(self) -> PeerId:
        """Who is at the other end, authenticated."""
        return self._peer

    @property
    def protocol(self) -> str:
        """The protocol agreed on."""
        return self._protocol

    async def receive(self, *, timeout: float | None = None) -> EventT | None:
        """The next event, as `ports.Channel.receive`."""
        while not self._events:
            if self._broken:
                raise ConnectionLostError(self._broken)
            if self._read_ended:
                return None
            data = b"" if self._more else await self._read(timeout)
            try:
                events = self._machine.receive_eof() if data is None else self._machine.receive(data)
            except RemoteProtocolError as error:
                await self._refuse(error)
                raise
            if events:
                self._patience.understood()
            self._keep(0 if events or data is None else self._kept + len(data))
            self._read_ended = data is None
            self._more = len(events) >= limits.LINES_PER_READ
            self._events.extend(events)
        return self._events.popleft()

    def ready(self) -> list[EventT]:
        """What is decoded already, as `ports.Channel.ready`."""
        events = list(self._events)
        self._events.clear()
        return events

    def _keep(self, count: int) -> None:
        """What waits in the machine for the rest of a message is memory that the peer takes."""
        if count != self._kept:
            self._kept = count
            self._stream.keep(count)
            self._patience.begun(count)

    async def _read(self, timeout: float | None) -> bytes | None:
        """Bytes, or None at the end of input."""
        try:
            data = await (self._stream.read(READ_BYTES) if self._stream.readable else self._wait(timeout))
        except StreamEOF:
            return None
        except DeadlineError:
            raise
        except HostError as error:
            # opened lazily, and refused
            self._broken = str(error)
            raise
        except Exception as error:
            # StreamReset, and what the muxer and the socket raise of their own
            raise ConnectionLostError(self._break("was reset")) from error
        self._patience.heard()
        return data

    async def _wait(self, timeout: float | None) -> bytes:
        """The next bytes, which are not there yet."""
        began = trio.current_time()
        left = self._patience.left(began)
        seconds = left if timeout is None else min(left, timeout)
        if seconds == float("inf"):
            return await self._stream.read(READ_BYTES)
        try:
            with trio.CancelScope(deadline=began + seconds):
                return await self._stream.read(READ_BYTES)
        finally:
            self._patience.waited(trio.current_time() - began)
        if seconds == left:
            self._charge(self._peer, "too_slow", 1)
        if self._patience.spent:
            self._break("was too slow")
            await self.reset()
            raise ConnectionLostError(self._broken)
        raise DeadlineError(f"{self._peer} sent nothing for {seconds:g} s")

    def _break(self, how: str) -> str:
        self._broken = f"The stream to {self._peer} {how}"
        return self._broken

    async def _refuse(self, error: RemoteProtocolError) -> None:
        """Answer what broke the protocol, charge for it, and let the stream go once the answer was read."""
        self._charge(self._peer, error.code, error.penalty)
        self._broken = f"The stream to {self._peer} was refused: {error.code}"
        _log.debug("%s of %s refused: %s", self._protocol, self._peer, error)
        if not error.reply or self._write_ended:
            await self.reset()
            return
        with trio.move_on_after(REFUSAL_SECONDS) as patience:
            try:
                # behind a frame that is going out just now, and never within it
                await self._write(error.reply, trio.current_time() + REFUSAL_SECONDS)
            except (ConnectionLostError, DeadlineError):
                return
        await (self.reset() if patience.cancelled_caught else self.aclose())

    async def send(self, *commands: CommandT, timeout: float | None = None) -> None:
        """Carry out commands, as `ports.Channel.send`."""
        deadline = float("inf") if timeout is None else trio.current_time() + timeout
        if timeout is None or not self._writing.taken:
            await self._send(commands, deadline)
            return
        with trio.CancelScope(deadline=deadline) as scope:
            await self._send(commands, deadline)
        if scope.cancelled_caught:
            raise DeadlineError(f"{self._peer} took nothing for {timeout:g} s")

    async def _send(self, commands: Sequence[CommandT], deadline: float) -> None:
        async with self._writing:
            if self.ended or self._write_ended:
                raise LocalProtocolError("the stream is closed for sending")
            if self._broken:
                raise ConnectionLostError(self._broken)
            lines: list[bytes] = []
            size = 0
            for command in commands:
                try:
                    line = self._machine.send(command)
                except LocalProtocolError:
                    await self._write_locked(b"".join(lines), deadline)  # what came before it goes
                    raise
                lines.append(line)
                size += len(line)
                if size >= CHUNK_BYTES:
                    await self._write_locked(b"".join(lines), deadline)
                    lines, size = [], 0
            await self._write_locked(b"".join(lines), deadline)

    async def _write(self, data: bytes, deadline: float) -> None:
        async with self._writing:
            await self._write_locked(data, deadline)

    async def _write_locked(self, data: bytes, deadline: float) -> None:
        """All bytes or a reset."""
        try:
            for start in range(0, len(data), CHUNK_BYTES):
                if start:
                    await trio.lowlevel.checkpoint_if_cancelled()
                    if trio.current_time() >= deadline:
                        raise DeadlineError(f"{self._peer} is too slow in taking what it asked for")
                chunk = data[start : start + CHUNK_BYTES]
                await self._write_chunk(chunk, deadline)
                if self._sent is not None:
                    self._sent(len(chunk))
        except BaseException:
            await self.reset()
            raise

    async def _write_chunk(self, chunk: bytes, deadline: float) -> None:
        now = trio.current_time()
        try:
            if self._stream.room >= len(chunk):
                await self._stream.write(chunk)
                return
            with trio.CancelScope(deadline=min(now + WRITE_SECONDS, deadline)):
                await self._stream.write(chunk)
                return
        except HostError as error:
            self._broken = str(error)
            raise
        except Exception as error:
            raise ConnectionLostError(self._break("broke while sending")) from error
        if deadline < now + WRITE_SECONDS:
            raise DeadlineError(f"{self._peer} took nothing for {deadline - now:.3g} s")
        raise ConnectionLostError(self._break("stopped taking bytes"))

    async def close_write(self) -> None:
        """Half-close, as `ports.Channel.close_write`."""
        async with self._writing:
            if self._write_ended or self.ended:
                return
            self._write_ended = True
            if self._stream.settled:
                self._stream.end()
            else:
                await self._shielded(self._stream.close_write)

    async def aclose(self) -> None:
        """End the stream, as `ports.Channel.aclose`. What the peer still sends is dropped, within bounds. Cancelled, it
        resets the stream: its place is free again whatever happens."""
        if self.ended:
            return
        try:
            await self.close_write()
        except BaseException:
            await self.reset()
            raise
        self.ended = True
        if self._stream.settled:
            self._stream.leave(self._release)
        else:
            self._linger(self._settle)

    async def _settle(self) -> None:
        """Of a stream that was opened lazily: wait until the peer has agreed, so that what was said is said again where
        it has not."""
        try:
            with trio.move_on_after(SETTLE_SECONDS):
                await self._stream.read(READ_BYTES)
        except Exception as error:
            # StreamEOF, StreamReset, and what the muxer and the socket raise of their own
            _log.debug("while closing: %r", error)
        finally:
            if self._stream.settled:
                self._stream.leave(self._release)
            else:
                await reset_stream(self._stream)
                self._release()

    async def reset(self) -> None:
        """Tear the stream down, as `ports.Channel.reset`."""
        if self.ended:
            return
        self.ended = True
        self._broken = self._broken or f"The stream to {self._peer} was reset by this side"
        try:
            await reset_stream(self._stream)
        finally:
            self._release()

    async def _shielded(self, action: Callable[[], Awaitable[None]]) -> None:
        with trio.CancelScope(deadline=trio.current_time() + CLOSE_SECONDS, shield=True):
            try:
                await action()
            except Exception as error:
                _log.debug("closing: %r", error)

    async def __aenter__(self) -> StreamChannel[EventT, CommandT]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if exc[0] is None:
            await self.aclose()
        else:
            await self.reset()
