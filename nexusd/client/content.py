"""Content put and got, for synchronous programs. The daemon reads and writes a file itself, where it is handed one that
is open; else the bytes go piece by piece.

with Nexus.connect() as nexus:
    put = put_file(nexus, Path("report.pdf"))
    save(nexus, put.cid, Path("copy.pdf"))
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

from nexusd.client.errors import NexusError
from nexusd_protocols import limits
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.rpc import schema

Format = Literal["file", "json"]

_POLL_MS: Final = 250
"""Between two looks at how far a fetch is."""
_AHEAD: Final = 2
"""Pieces asked for before they are needed."""
_NOT_TAKEN: Final = frozenset({"method_not_found", "bad_file"})
"""The daemon takes no open files, being older, or not this one: its bytes are sent instead."""


class Caller(Protocol):
    """A client: see `nexusd.client.Nexus`."""

    def call(self, method: str, params: Any = None, *, file: int | None = None) -> Any: ...


def put_file(
    nexus: Caller,
    path: Path,
    *,
    name: str | None = None,
    retention: RetentionClass = "archival",
    staged: bool = False,
    format: Format = "file",  # noqa: A002 - the field's name
    progress: Callable[[int], None] = lambda _sent: None,
) -> schema.ContentPut:
    """Put a file; `progress` is told how many bytes of it were taken. A put that was interrupted goes on where it was,
    as long as the file is the same and the daemon runs; after that it is read again, and only what is not stored yet is
    written. Raises NexusError, OSError."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        same = (os.fspath(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev, format)
        begin = schema.ContentBeginParams(
            name=path.name if name is None else name,
            key=hashlib.sha256(repr(same).encode()).hexdigest(),
            retention=retention,
            staged=staged,
            format=format,
        )
        return _put(nexus, file, begin, progress, hand_over=True)


def put_stream(
    nexus: Caller,
    file: IO[bytes],
    *,
    name: str = "",
    key: str = "",
    retention: RetentionClass = "archival",
    staged: bool = False,
    format: Format = "file",  # noqa: A002 - the field's name
    progress: Callable[[int], None] = lambda _sent: None,
) -> schema.ContentPut:
    """Put what a file object gives. With a `key` it can be resumed, and the file must be seekable; without, a put that
    is broken off is given up. Raises NexusError, OSError."""
    begin = schema.ContentBeginParams(name=name, key=key, retention=retention, staged=staged, format=format)
    return _put(nexus, file, begin, progress, hand_over=False)


def _put(
    nexus: Caller,
    file: IO[bytes],
    begin: schema.ContentBeginParams,
    progress: Callable[[int], None],
    *,
    hand_over: bool,
) -> schema.ContentPut:
    upload: schema.ContentUpload = nexus.call("content.begin", begin)
    progress(upload.written)
    if upload.done is not None:
        return upload.done
    try:
        return _fill_up(nexus, file, begin, upload, progress, hand_over=hand_over)
    except BaseException:
        if not begin.key:  # nobody can go on with it, and it would hold on to what was stored for an hour
            with suppress(NexusError, OSError):
                nexus.call("content.abort", schema.ContentUploadParams(upload=upload.upload))
        raise


def _fill_up(
    nexus: Caller,
    file: IO[bytes],
    begin: schema.ContentBeginParams,
    upload: schema.ContentUpload,
    progress: Callable[[int], None],
    *,
    hand_over: bool,
) -> schema.ContentPut:
    if hand_over:
        try:
            _hand_over(nexus, file.fileno(), upload, progress)
        except NexusError as error:
            if error.code not in _NOT_TAKEN:
                raise
            hand_over = False
            upload = nexus.call("content.begin", begin)  # says how far it came
    if not hand_over:
        if upload.written:
            file.seek(upload.written)
        _send(nexus, file, upload, progress)
    put: schema.ContentPut = nexus.call("content.finish", schema.ContentUploadParams(upload=upload.upload))
    return put


def _hand_over(nexus: Caller, file: int, upload: schema.ContentUpload, progress: Callable[[int], None]) -> None:
    """The rest of a file, which the daemon reads itself."""
    written, taken = upload.written, limits.CONTENT_SPAN_BYTES
    while taken == limits.CONTENT_SPAN_BYTES:
        params = schema.ContentWriteFromParams(upload=upload.upload, offset=written)
        now = nexus.call("content.writeFrom", params, file=file).written
        written, taken = now, now - written
        progress(written)


def _send(nexus: Caller, file: IO[bytes], upload: schema.ContentUpload, progress: Callable[[int], None]) -> None:
    """The rest of a file: the next pieces are read and sent while the daemon stores this one."""

    def send(offset: int, piece: bytes) -> int:
        params = schema.ContentWriteParams(upload=upload.upload, offset=offset, data=piece)
        written: int = nexus.call("content.write", params).written
        return written

    offset = upload.written
    with ThreadPoolExecutor(_AHEAD) as pool:
        going: deque[Future[int]] = deque()
        while piece := file.read(limits.CONTENT_PIECE_BYTES):
            if len(going) == _AHEAD:
                progress(going.popleft().result())
            going.append(pool.submit(send, offset, piece))
            offset += len(piece)
        for last in going:
            progress(last.result())


def fetch(
    nexus: Caller,
    cid: str,
    *,
    peers: Sequence[str] = (),
    retention: RetentionClass = "cache",
    progress: Callable[[schema.ContentFetched], None] = lambda _state: None,
) -> schema.ContentFetched:
    """Have all of something fetched to the daemon, from whoever has it. What came stays there, so that a fetch that was
    interrupted continues. Raises NexusError."""
    params = schema.ContentFetchParams(cid=cid, peers=list(peers), retention=retention, wait_ms=_POLL_MS)
    while True:
        state: schema.ContentFetched = nexus.call("content.fetch", params)
        progress(state)
        if state.done:
            return state


def read(nexus: Caller, cid: str, *, peers: Sequence[str] = ()) -> Iterator[bytes]:
    """The bytes of a file, or of a block that is no file, piece by piece: they come from whoever made the content.
    What is not with the daemon is fetched as it is read; `fetch` first is faster. Raises NexusError."""

    def piece(offset: int) -> schema.ContentRead:
        found: schema.ContentRead = nexus.call(
            "content.read", schema.ContentReadParams(cid=cid, offset=offset, peers=list(peers))
        )
        return found

    first = piece(0)
    step = len(first.data)
    if step:
        yield first.data
    if step >= first.size:
        return
    if not step:
        raise NexusError.of("bad_content", f"{cid} ends early")
    # the daemon reads the next pieces while this one is decoded and used
    with ThreadPoolExecutor(_AHEAD) as pool:
        offsets = range(step, first.size, step)
        coming = deque(pool.submit(piece, offset) for offset in offsets[:_AHEAD])
        for at, offset in enumerate(offsets):
            found = coming.popleft().result()
            if len(found.data) != min(step, first.size - offset):
                raise NexusError.of("bad_content", f"{cid} ends early")
            if at + _AHEAD < len(offsets):
                coming.append(pool.submit(piece, offsets[at + _AHEAD]))
            yield found.data


def entries(nexus: Caller, found: schema.ContentStat, *, peers: Sequence[str] = ()) -> Iterator[schema.ContentEntry]:
    """All entries of a directory, of which `found` has the first: names as whoever made it chose them. Raises
    NexusError."""
    skip = 0
    while True:
        yield from found.entries
        skip += len(found.entries)
        if not found.more or not found.entries:
            return
        found = nexus.call("content.stat", schema.ContentStatParams(cid=found.cid, skip=skip, peers=list(peers)))


def part_of(path: Path) -> Path:
    """Where something is written before it is whole: beside its place, so that it can be moved there."""
    return path.with_name(f".nexus-{secrets.token_hex(8)}.part")


def save(
    nexus: Caller,
    cid: str,
    path: Path,
    *,
    peers: Sequence[str] = (),
    progress: Callable[[int], None] = lambda _written: None,
) -> int:
    """Write the bytes of something to a file, which appears whole or not at all and takes the place of one that is
    there. Returns how many they are. Raises NexusError, OSError."""
    part = part_of(path)
    written = 0
    try:
        with part.open("xb") as file:
            try:
                written = _fill(nexus, cid, file.fileno(), peers, progress)
            except NexusError as error:
                if error.code not in _NOT_TAKEN:
                    raise
                for piece in read(nexus, cid, peers=peers):
                    file.write(piece)
                    written += len(piece)
                    progress(written)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return written


def _fill(nexus: Caller, cid: str, file: int, peers: Sequence[str], progress: Callable[[int], None]) -> int:
    """The bytes of something, which the daemon writes to a file itself."""
    written, size = 0, None
    while size is None or written < size:
        params = schema.ContentReadIntoParams(cid=cid, offset=written, peers=list(peers))
        found: schema.ContentReadInto = nexus.call("content.readInto", params, file=file)
        size = found.size
        if found.read != min(limits.CONTENT_SPAN_BYTES, size - written):
            raise NexusError.of("bad_content", f"{cid} ends early")
        written += found.read
        progress(written)
    return written
