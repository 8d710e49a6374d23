"""A capability served by a command: one process a call, without a shell, in a process group of its own.

    caller's input -> stdin;  stdout -> events;  exit status != 0 -> error with the end of stderr

Whatever ends the call (done, cancel, deadline, the caller's limit) ends the whole process group: TERM, and KILL after a
grace. Nothing of the caller's input reaches the command line or the environment.
"""

from __future__ import annotations

import codecs
import os
import signal
import subprocess
from typing import Any, Final

import msgspec
import trio

from nexusd.services.capabilities.ports import CallFailed, Incoming, as_it_comes
from nexusd_protocols import limits, ndjson
from nexusd_protocols.rpc.schema import CommandSpec

READ_BYTES: Final = 64 * limits.KIB
"""One read of stdout is at most one event of this size; a pipe holds no more."""
JSONL_LINE_BYTES: Final = 1 * limits.MIB
STDERR_TAIL_BYTES: Final = 2 * limits.KIB
"""Enough for a traceback's last lines, and it fits an error frame."""
LAST_WORDS_S: Final = 1.0
"""For what a failed command left in the pipe of its stderr; longer, and a child of its own holds it open."""
TERM_GRACE_S: Final = 2.0
UNITS: Final = 1_000_000
"""That one line may count."""
UNARY_EVENT_BYTES: Final = 256 * limits.KIB
"""A unary result up to this size is one event, as published callers expect; a larger one comes in several."""

_any: Final = msgspec.json.Decoder()


class Command:
    """Provider of one command capability."""

    def __init__(self, spec: CommandSpec) -> None:
        self._spec = spec

    async def call(self, incoming: Incoming) -> None:
        """Run the command for one call. Raises CallFailed with COMMAND_NOT_FOUND, COMMAND_FAILED or BAD_OUTPUT."""
        try:
            process = await trio.lowlevel.open_process(
                self._spec.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._spec.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            why = error.strerror if isinstance(error, OSError) else error
            raise CallFailed("COMMAND_NOT_FOUND", f"cannot start {self._spec.argv[0]}: {why}") from error
        tail = bytearray()
        told = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_feed, process, incoming)
                nursery.start_soon(_keep_tail, process, tail, told)
                await self._drain(process, incoming)
                status = await process.wait()
                if status != 0:
                    with trio.move_on_after(LAST_WORDS_S):
                        await told.wait()
                # input that the command did not read is nobody's any more, and a grandchild may hold stderr open
                nursery.cancel_scope.cancel()
        finally:
            await _end_group(process)
        if status != 0:
            reason = f"exit status {status}" if status > 0 else f"killed by {signal.Signals(-status).name}"
            words = tail.decode(errors="replace").strip()
            raise CallFailed("COMMAND_FAILED", f"{reason}: {words}" if words else reason)

    async def _drain(self, process: trio.Process, incoming: Incoming) -> None:
        if self._spec.jsonl:
            await _drain_lines(process, incoming)
        elif as_it_comes(incoming):
            await _drain_text(process, incoming)
        else:
            await _drain_whole(process, incoming)


async def _feed(process: trio.Process, incoming: Incoming) -> None:
    assert process.stdin is not None
    try:
        while (piece := await incoming.receive()) is not None:
            data, final = piece
            if data is not msgspec.UNSET and data != "":
                await process.stdin.send_all(data.encode() if isinstance(data, str) else ndjson.encode(data))
            if final:
                break
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the command closed its stdin: its right
    finally:
        await process.stdin.aclose()


async def _keep_tail(process: trio.Process, tail: bytearray, told: trio.Event) -> None:
    assert process.stderr is not None
    async for data in process.stderr:
        tail += data
        del tail[:-STDERR_TAIL_BYTES]
    told.set()


async def _texts(process: trio.Process) -> Any:
    """Stdout as text, cut at character borders."""
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while True:
            data = await process.stdout.receive_some(READ_BYTES)
            if text := decoder.decode(data, final=not data):
                yield text
            if not data:
                return
    except UnicodeDecodeError as error:
        raise CallFailed("BAD_OUTPUT", "the command's output is not UTF-8 text") from error


async def _drain_text(process: trio.Process, incoming: Incoming) -> None:
    async for text in _texts(process):
        await incoming.emit("partial", text)


async def _drain_whole(process: trio.Process, incoming: Incoming) -> None:
    parts: list[str] = []
    size = 0
    async for text in _texts(process):
        parts.append(text)
        size += len(text)
        if size >= UNARY_EVENT_BYTES:
            await incoming.emit("result", "".join(parts))
            parts, size = [], 0
    await incoming.emit("result", "".join(parts))


async def _drain_lines(process: trio.Process, incoming: Incoming) -> None:
    assert process.stdout is not None
    buffer = bytearray()
    while data := await process.stdout.receive_some(READ_BYTES):
        buffer += data
        *lines, rest = buffer.split(b"\n")
        buffer = bytearray(rest)
        if len(buffer) > JSONL_LINE_BYTES:
            raise CallFailed("BAD_OUTPUT", f"a line of the command's output is over {JSONL_LINE_BYTES} bytes")
        for line in lines:
            await _emit_line(bytes(line), incoming)
    await _emit_line(bytes(buffer), incoming)


async def _emit_line(line: bytes, incoming: Incoming) -> None:
    """A line is one event: {"event": …, "data": …} names itself, and may say what `units` it counts; any other JSON is
    the data of a `partial`."""
    if not line.strip():
        return
    if ndjson.too_deep(line):
        raise CallFailed("BAD_OUTPUT", "a line of the command's output nests too deep")
    try:
        value = _any.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallFailed("BAD_OUTPUT", f"a line of the command's output is not JSON: {error}") from error
    match value:
        case {"event": str(event), "data": data, **others} if not others:
            await incoming.emit(event, data)
        case {"event": str(event), "data": data, "units": int(units), **others} if not others and 0 <= units <= UNITS:
            await incoming.emit(event, data, units)
        case _:
            await incoming.emit("partial", value)


async def _end_group(process: trio.Process) -> None:
    """End the command and all that it started, even where it is gone itself: its children keep the group's number."""
    with trio.CancelScope(shield=True):
        _signal_group(process.pid, signal.SIGTERM)
        with trio.move_on_after(TERM_GRACE_S):
            await process.wait()
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return  # all gone; on macOS a group of zombies gives EPERM
