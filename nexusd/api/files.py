"""Open files that a client hands over with a request, beside its line (unix(7), SCM_RIGHTS; specs/rpc.md §6).

    recvmsg -> HandedFiles (one at most, for the line that is being read) -> HandedFile (the request's) -> closed

What is read and written is what the client itself may: it opened the file, and the daemon never sees a path. All of it
happens in threads, because a disk may take its time.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, Self, TypeVar

import trio

from nexusd_protocols import limits
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import FileUse

T = TypeVar("T")

ANCILLARY_BYTES: Final = socket.CMSG_LEN(array.array("i").itemsize)
"""Room for one descriptor: the kernel closes those that come with it."""
CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""So that no command that is started at that moment inherits it."""
THREADS: Final = 4
"""In which files are read and written. A file system that hangs must not have all that the daemon may use."""

_NONE: Final = -1
_SEVERAL: Final = -2
"""Instead of a descriptor."""

_PATH_ONLY: Final = getattr(os, "O_PATH", 0)
_MODES: Final[dict[FileUse, frozenset[int]]] = {
    "read": frozenset({os.O_RDONLY, os.O_RDWR}),
    "write": frozenset({os.O_WRONLY, os.O_RDWR}),
}

_turn: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("handed_files")


class HandedFileError(Exception):
    """The file cannot be used as the request needs it. The message is for people."""


class HandedFile:
    """One request's file; hold it in `async with`. Its position is left alone: several requests may come with one
    file."""

    def __init__(self, descriptor: int, owner: HandedFiles) -> None:
        self._descriptor = descriptor
        self._owner = owner
        self._lock = threading.Lock()
        self._uses = 1
        """The request's own, and of threads that are at it. The last one closes it: nobody waits for a file system that
        hangs, and a number is not used again while somebody reads from it."""
        self._over = False

    async def check(self, use: FileUse) -> None:
        """Raises HandedFileError for anything but a regular file that was opened for this use."""
        await self._use(partial(self._check, use))

    async def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`: fewer, or none, where the file ends. Raises HandedFileError."""
        return await self._use(partial(os.pread, self._descriptor, size, offset))

    async def write_at(self, offset: int, pieces: Sequence[bytes]) -> None:
        """Write all of them, one behind the other. Raises HandedFileError."""
        await self._use(partial(self._write, offset, pieces))

    async def aclose(self) -> None:
        """The request is over. Raises HandedFileError, of a network file system perhaps, which writes only now; it is
        closed all the same."""
        if self._over:
            return
        self._owner.open -= 1
        try:
            await self._in_thread(self._end)
        except trio.Cancelled:
            trio.lowlevel.start_thread_soon(self._end, lambda _: None)
            raise

    def _end(self) -> None:
        with self._lock:
            over, self._over = self._over, True
        if not over:
            self._let_go()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def _use(self, work: Callable[[], T]) -> T:
        return await self._in_thread(partial(self._hold, work))

    @staticmethod
    async def _in_thread(work: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(work, limiter=_limiter(), abandon_on_cancel=True)
        except OSError as error:
            raise HandedFileError(f"The file failed: {error.strerror or error}") from error

    def _hold(self, work: Callable[[], T]) -> T:
        """In a thread."""
        with self._lock:
            if not self._uses:
                raise OSError("the request is over")  # and nobody hears it
            self._uses += 1
        try:
            return work()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            self._uses -= 1
            last = not self._uses
        if last:
            os.close(self._descriptor)

    def _check(self, use: FileUse) -> None:
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise HandedFileError("What came with the request is no regular file")
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        if flags & _PATH_ONLY or flags & os.O_ACCMODE not in _MODES[use]:
            raise HandedFileError(f"The file that came with the request is not open to {use}")
        if use == "write" and flags & os.O_APPEND:
            raise HandedFileError("The file that came with the request is open to append: it has no places")

    def _write(self, offset: int, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                written = os.pwrite(self._descriptor, left, offset)
                left, offset = left[written:], offset + written


class HandedFiles:
    """The files of one connection: the one that came with the line that is being read, and those in use."""

    def __init__(self, limit: int = limits.RPC_FILES) -> None:
        self._limit = limit
        self._came = _NONE
        self.open = 0
        """In use by requests."""

    def receive(self, sock: socket.socket, size: int) -> bytes:
        """Bytes as `recv` gives them, and the file that came with them. Raises what `recv` does."""
        data, ancillary, _, _ = sock.recvmsg(size, ANCILLARY_BYTES, CLOSE_ON_EXEC)
        for descriptor in _descriptors(ancillary):
            if self._came == _NONE:
                self._came = descriptor
            else:
                # one read may hold the end of a line and the next with its file: which is whose is not known any more
                self.drop()
                _close(descriptor)
                self._came = _SEVERAL
        return data

    def take(self) -> HandedFile | Refusal:
        """The file that came with a request's line, for that request."""
        if self._came == _SEVERAL:
            return Refusal("bad_file", "Another file came before the line of the first had ended: send lines whole")
        if self._came == _NONE:
            return Refusal("bad_file", "No file came with the request")
        if self.open >= self._limit:
            return Refusal("busy", f"A connection has at most {self._limit} files in use at once")
        file, self._came = HandedFile(self._came, self), _NONE
        self.open += 1
        return file

    def drop(self) -> None:
        """Close what came and was not taken: no request of its lines needs it."""
        if self._came >= 0:
            _close(self._came)
        self._came = _NONE


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # nothing was done with it
        os.close(descriptor)


def _descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> Iterator[int]:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found = array.array("i")
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
            for descriptor in found:
                os.set_inheritable(descriptor, False)
                yield descriptor


def _limiter() -> trio.CapacityLimiter:
    try:
        return _turn.get()
    except LookupError:
        limiter = trio.CapacityLimiter(THREADS)
        _turn.set(limiter)
        return limiter
