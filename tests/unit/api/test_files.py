"""Open files that come with requests: which are taken, what is done with them, and that each is closed."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from nexusd.api import files
from nexusd.api.files import HandedFile, HandedFileError, HandedFiles
from nexusd_protocols import limits
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.door import Door
from tests.harness.nodes import until
from tests.harness.rawrpc import RawClient

DATA = b"what is in the file"


def descriptors() -> set[str]:
    """All that are open, but for the one by which they are listed."""
    return {each.name for each in Path("/proc/self/fd").iterdir() if os.path.lexists(each)}


def contents(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


class Content:
    """Reads whatever comes, and writes it back to where that is asked. `gate` holds it back."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.gate = trio.Event()
        self.gate.set()

    async def write_from(self, params: schema.ContentWriteFromParams, file: HandedFile) -> schema.ContentWritten:
        await self.gate.wait()
        self.read.append(await file.read_at(params.offset, params.length))
        return schema.ContentWritten(written=params.offset + len(self.read[-1]))

    async def read_into(self, params: schema.ContentReadIntoParams, file: HandedFile) -> schema.ContentReadInto:
        await file.write_at(params.offset, [b"ab", b"", b"cd"])
        return schema.ContentReadInto(read=4, size=4)


@pytest.fixture
def content(door: Door) -> Content:
    found = Content()
    vars(door.fakes.content).update(write_from=found.write_from, read_into=found.read_into)
    return found


def request(method: str = "content.writeFrom", number: int = 1, **params: Any) -> bytes:
    if method == "content.writeFrom":
        params = {"upload": "u", "offset": 0, **params}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


async def hand_over(client: RawClient, line: bytes, *opened: int) -> None:
    """A line and files in one message, as the kernel takes it; the files are closed here."""
    sock = client.stream.socket
    rights = b"".join(each.to_bytes(4, "little") for each in opened)
    await sock.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    for each in opened:
        os.close(each)


async def answer(client: RawClient) -> Any:
    told = await client.hear()
    return told.get("result") or told["error"]["data"]["code"]


# --- what the service gets --------------------------------------------------------------------------------------------
async def test_a_file_comes_with_its_request_and_is_closed_after_it(door: Door, content: Content, data: Path) -> None:
    client = await door.connect()
    await client.call("node.status")
    before = descriptors()
    for offset, read in ((0, DATA), (5, DATA[5:]), (100, b"")):
        await hand_over(client, request(offset=offset), os.open(data, os.O_RDONLY))
        assert await answer(client) == {"written": offset + len(read)}
        assert content.read[-1] == read
        assert descriptors() == before


async def test_a_file_is_written(door: Door, content: Content, data: Path) -> None:
    client = await door.connect()
    await hand_over(client, request("content.readInto", cid="x", offset=2), os.open(data, os.O_WRONLY))
    assert await answer(client) == {"read": 4, "size": 4}
    assert contents(data) == DATA[:2] + b"abcd" + DATA[6:]


async def test_each_file_goes_with_its_own_line(door: Door, content: Content, data: Path, tmp_path: Path) -> None:
    """Requests in one go, some of which need none; and a line that comes in two halves."""
    client = await door.connect()
    other = tmp_path / "other"
    other.write_bytes(b"other")
    await client.write(request("node.status", 7))
    await hand_over(client, request(number=1), os.open(data, os.O_RDONLY))
    await client.write(request("node.status", 8))
    line = request(number=2)
    await hand_over(client, line[:9], os.open(other, os.O_RDONLY))
    await client.write(line[9:20])
    await trio.testing.wait_all_tasks_blocked()
    await client.write(line[20:])
    told = {message["id"]: message["result"] for message in [await client.hear() for _ in range(4)]}
    assert set(told) == {1, 2, 7, 8}
    assert (told[1], told[2]) == ({"written": len(DATA)}, {"written": 5})
    assert sorted(content.read) == sorted([DATA, b"other"])


# --- what is refused --------------------------------------------------------------------------------------------------
def _pipe() -> int:
    read, write = os.pipe()
    os.close(write)
    return read


def _socket() -> int:
    one, other = socket.socketpair()
    other.close()
    return one.detach()


UNFIT: dict[str, tuple[str, Callable[[Path], int]]] = {
    "a pipe": ("content.writeFrom", lambda path: _pipe()),
    "a socket": ("content.writeFrom", lambda path: _socket()),
    "a directory": ("content.writeFrom", lambda path: os.open(path.parent, os.O_RDONLY)),
    "a device": ("content.writeFrom", lambda path: os.open("/dev/zero", os.O_RDONLY)),
    "only a name": ("content.writeFrom", lambda path: os.open(path, os.O_PATH)),
    "not open to read": ("content.writeFrom", lambda path: os.open(path, os.O_WRONLY)),
    "not open to write": ("content.readInto", lambda path: os.open(path, os.O_RDONLY)),
    "open to append": ("content.readInto", lambda path: os.open(path, os.O_RDWR | os.O_APPEND)),
    "a device to write": ("content.readInto", lambda path: os.open("/dev/null", os.O_WRONLY)),
}


@pytest.mark.parametrize("unfit", UNFIT)
async def test_what_is_no_file_for_it_is_refused_and_closed(
    door: Door, content: Content, data: Path, unfit: str
) -> None:
    method, opened = UNFIT[unfit]
    client = await door.connect()
    await client.call("node.status")
    before = descriptors()
    params = {"cid": "x"} if method == "content.readInto" else {}
    await hand_over(client, request(method, **params), opened(data))
    assert await answer(client) == "bad_file"
    assert descriptors() == before
    assert content.read == []
    assert contents(data) == DATA


async def test_a_request_without_its_file(door: Door, content: Content, data: Path) -> None:
    client = await door.connect()
    await client.write(request())
    assert await answer(client) == "bad_file"
    # one that came with something else is no other's
    await hand_over(client, request("node.status", 2), os.open(data, os.O_RDONLY))
    assert (await answer(client))["name"] == "alice"
    await client.write(request())
    assert await answer(client) == "bad_file"


async def test_only_so_many_at_once(door: Door, content: Content, data: Path) -> None:
    client = await door.connect()
    await client.call("node.status")
    before = descriptors()
    content.gate = trio.Event()
    for number in range(limits.RPC_FILES + 1):
        await hand_over(client, request(number=number), os.open(data, os.O_RDONLY))
    assert await answer(client) == "busy"
    assert len(descriptors() - before) == limits.RPC_FILES
    content.gate.set()
    assert [await answer(client) for _ in range(limits.RPC_FILES)] == [{"written": len(DATA)}] * limits.RPC_FILES
    await hand_over(client, request(), os.open(data, os.O_RDONLY))
    assert await answer(client) == {"written": len(DATA)}
    assert descriptors() == before


async def test_more_than_one_with_a_line(door: Door, content: Content, data: Path) -> None:
    client = await door.connect()
    await client.call("node.status")
    before = descriptors()
    await hand_over(client, request(), *(os.open(data, os.O_RDONLY) for _ in range(50)))
    assert await answer(client) == {"written": len(DATA)}
    assert descriptors() == before


async def test_a_second_file_before_the_line_of_the_first_has_ended(
    door: Door, content: Content, data: Path, tmp_path: Path
) -> None:
    """One read may give the end of that line, the next line and its file: then neither file is taken for the other."""
    client = await door.connect()
    await client.call("node.status")
    before = descriptors()
    other = tmp_path / "other"
    other.write_bytes(b"other")
    line = request(number=1)
    await hand_over(client, line[:9], os.open(data, os.O_RDONLY))
    await trio.testing.wait_all_tasks_blocked()
    own = socket.socket(fileno=os.dup(client.stream.socket.fileno()))  # no turn of the daemon between the two
    with own, other.open("rb") as opened:
        own.send(line[9:])
        socket.send_fds(own, [request(number=2)], [opened.fileno()])
    assert [await answer(client) for _ in range(2)] == ["bad_file", "bad_file"]
    assert content.read == []
    assert descriptors() == before
    await hand_over(client, request(number=3), os.open(data, os.O_RDONLY))
    assert await answer(client) == {"written": len(DATA)}


# --- and closed -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("line", [request("node.status"), request("no.such"), b"no JSON\n", request(upload=7), b"\n"])
async def test_a_file_that_nobody_takes_is_closed(door: Door, content: Content, data: Path, line: bytes) -> None:
    client = await door.connect()
    await client.call("node.status")
    before = descriptors()
    for _ in range(10):
        await hand_over(client, line, os.open(data, os.O_RDONLY))
    await client.call("node.status", request_id="last")
    assert descriptors() == before


async def test_the_file_of_a_client_that_goes_away_is_closed(door: Door, content: Content, data: Path) -> None:
    before = descriptors()
    gone = await door.connect()
    await hand_over(gone, request()[:10], os.open(data, os.O_RDONLY))
    gone.stream.socket.close()
    gone = await door.connect()
    content.gate = trio.Event()
    await hand_over(gone, request(), os.open(data, os.O_RDONLY))
    await trio.testing.wait_all_tasks_blocked()
    gone.stream.socket.close()
    content.gate.set()
    await until(lambda: descriptors() == before)


async def test_the_files_of_a_daemon_that_stops_are_closed(door: Door, content: Content, data: Path) -> None:
    client = await door.connect()
    await client.call("node.status")
    before = descriptors()
    content.gate = trio.Event()
    await hand_over(client, request(), os.open(data, os.O_RDONLY))
    await trio.testing.wait_all_tasks_blocked()
    assert len(descriptors() - before) == 1
    door.scope.cancel()
    await until(lambda: not descriptors() - before)


# --- the file itself --------------------------------------------------------------------------------------------------
@pytest.fixture
async def handed() -> AsyncIterator[Callable[[int], HandedFile]]:
    """What a connection makes of a descriptor that came."""
    made: list[HandedFile] = []

    def make(descriptor: int) -> HandedFile:
        one, other = socket.socketpair()
        with one, other:
            socket.send_fds(one, [b"x"], [descriptor])
            os.close(descriptor)
            owner = HandedFiles()
            assert owner.receive(other, 10) == b"x"
        file = owner.take()
        assert isinstance(file, HandedFile)
        made.append(file)
        return file

    yield make
    for file in made:
        await file.aclose()
        await file.aclose()  # does nothing more


async def test_no_command_inherits_it(handed: Callable[[int], HandedFile], data: Path) -> None:
    before = descriptors()
    handed(os.open(data, os.O_RDONLY))
    (descriptor,) = descriptors() - before
    assert not os.get_inheritable(int(descriptor))


async def test_a_file_that_is_cut_while_it_is_read_ends(handed: Callable[[int], HandedFile], data: Path) -> None:
    file = handed(os.open(data, os.O_RDONLY))
    assert await file.read_at(0, 4) == DATA[:4]
    os.truncate(data, 6)
    assert await file.read_at(4, 100) == DATA[4:6]
    assert await file.read_at(6, 100) == b""


async def test_what_the_disk_refuses_is_told(
    handed: Callable[[int], HandedFile], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = handed(os.open(data, os.O_RDWR))
    with pytest.raises(HandedFileError, match="File too large"):
        await file.write_at((1 << 63) - 2, [b"x"])

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "pwrite", full)
    with pytest.raises(HandedFileError, match="No space left"):
        await file.write_at(0, [b"x"])


async def test_a_disk_that_takes_little_at_a_time(
    handed: Callable[[int], HandedFile], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = handed(os.open(data, os.O_RDWR))
    write = os.pwrite
    monkeypatch.setattr(files.os, "pwrite", lambda fd, data, offset: write(fd, data[:3], offset))
    await file.write_at(1, [b"01234567", b"89"])
    assert contents(data) == DATA[:1] + b"0123456789" + DATA[11:]


async def test_a_file_system_that_hangs_keeps_nobody_and_its_file_is_closed_when_it_answers(
    door: Door, content: Content, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await door.connect()
    await client.call("node.status")
    before = descriptors()
    hangs, answers = threading.Event(), threading.Event()

    def slow(*_: object) -> bytes:
        hangs.set()
        answers.wait(30)
        return b""

    monkeypatch.setattr(files.os, "pread", slow)
    await hand_over(client, request(), os.open(data, os.O_RDONLY))
    await trio.to_thread.run_sync(hangs.wait, 30)
    door.scope.cancel()
    with trio.fail_after(20):
        await door.ended.wait()
    assert len(descriptors() - before) == 1, "nobody else gets its number"
    answers.set()
    await until(lambda: not descriptors() - before)


async def test_a_file_that_fails_when_it_is_closed_is_in_use_no_more(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = HandedFiles()
    one, other = socket.socketpair()
    with one, other, data.open("rb") as opened:
        socket.send_fds(one, [b"x"], [opened.fileno()])
        owner.receive(other, 10)
    file = owner.take()
    assert isinstance(file, HandedFile)
    close = os.close

    def over_quota(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "close", over_quota)
        with pytest.raises(HandedFileError, match="quota"):
            await file.aclose()
    assert owner.open == 0


def test_nothing_came() -> None:
    assert HandedFiles().take() == Refusal("bad_file", "No file came with the request")
