"""Reading frames: the bad input list, and the edges of every bound."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest

from nexusd_protocols import limits
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import Frame, FrameMachine, FrameReader, UnknownFrame, type_of, write


class Small(Frame, frozen=True, kw_only=True, tag="test.small"):
    request_id: str = "r"


class Wide(Frame, frozen=True, kw_only=True, tag="test.wide"):
    data: object


def reader(**options: int) -> FrameReader[Small | Wide]:
    return FrameReader(Small | Wide, wide=(Wide,), **options)


def read(data: bytes, **options: int) -> list[Frame | UnknownFrame]:
    return list(reader(**options).feed(data))


SMALL = b'{"type":"test.small","version":1}'


def wide(data: str) -> bytes:
    return b'{"type":"test.wide","version":1,"data":' + data.encode() + b"}\n"


@pytest.mark.parametrize(
    ("line", "code", "penalty"),
    [
        (b"hello", "bad_json", 5),
        (b'{"type":"test.small","version":1', "bad_json", 5),
        (b'{"type":"test.small","version":1}}', "bad_json", 5),
        (b"\x00\x01\x02", "bad_json", 5),
        (b"[]", "bad_message", 1),
        (b'"test.small"', "bad_message", 1),
        (b"null", "bad_message", 1),
        (b'{"version":1}', "bad_message", 1),
        (b'{"type":"test.small"}', "bad_message", 1),
        (b'{"type":7,"version":1}', "bad_message", 1),
        (b'{"type":"test.wide","version":1}', "bad_message", 1),
        (b'{"type":"test.small","version":2}', "bad_version", 1),
        (b'{"type":"test.other","version":2}', "bad_version", 1),
        (b'{"type":"test.small","version":true}', "bad_message", 1),
        (b'{"type":"test.small","version":1.0}', "bad_message", 1),
        (b'{"type":"test.wide","version":1,"data":NaN}', "bad_json", 5),
        (b'{"type":"test.wide","version":1,"data":-Infinity}', "bad_json", 5),
        (b'{"type":"test.wide","version":1,"data":1e400}', "bad_message", 1),
        (b'{"type":"test.wide","version":1,"data":"\\ud800"}', "bad_json", 5),
        (b'{"type":"test.wide","version":1,"data":"\xff"}', "bad_json", 5),
        (b'{"type":"test.small","version":1,"x":"\xc3("}', "bad_json", 5),
        (b'{"type":"test.small","version":1,"x":NaN}', "bad_json", 5),
        (b"\xef\xbb\xbf" + SMALL, "bad_json", 5),
        (b'{"type":"test.wide","version":1,"data":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep", 10),
        (b'{"type":"test.wide","version":1,"data":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, "too_deep", 10),
        (b"[" * 10_000, "too_deep", 10),
        (b'{"type":"test.wide","version":1,"data":' + b"9" * 5000 + b"}", "bad_message", 1),
    ],
)
def test_bad_lines(line, code, penalty):
    with pytest.raises(RemoteProtocolError) as caught:
        read(line + b"\n")
    assert (caught.value.code, caught.value.penalty) == (code, penalty)


@pytest.mark.parametrize(("levels", "fits"), [(31, True), (32, True), (33, False)])
def test_depth(levels, fits):
    data = wide("[" * (levels - 1) + "]" * (levels - 1))
    if fits:
        assert len(read(data)) == 1
    else:
        with pytest.raises(RemoteProtocolError, match="too_deep"):
            read(data)


@pytest.mark.parametrize(("size", "fits"), [(199, True), (200, True), (201, False)])
def test_length_of_a_line(size, fits):
    line = wide('"' + "x" * (size + 1 - len(wide('""'))) + '"')
    assert len(line) == size + 1
    if fits:
        assert len(read(line, max_line=200)) == 1
        return
    for data in (line, line[:-1]):  # an unfinished line too
        with pytest.raises(RemoteProtocolError, match="line_too_long"):
            read(data, max_line=200)


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False)])
def test_length_of_a_line_without_content(size, fits):
    line = SMALL[:-1] + b',"x":"' + b"x" * (size - len(SMALL) - 7) + b'"}\n'
    assert len(line) == size + 1
    if fits:
        assert read(line, max_line=1000, max_control_line=100)
    else:
        with pytest.raises(RemoteProtocolError, match=r"line_too_long.*test.small"):
            read(line, max_line=1000, max_control_line=100)
    assert read(wide('"' + "x" * 500 + '"'), max_line=1000, max_control_line=100)


def test_ten_megabytes_without_a_line_end_are_refused_early():
    incoming = reader(max_line=limits.INVOKE_LINE_BYTES)
    piece = b"x" * 65536
    tracemalloc.start()
    fed = 0
    while fed + len(piece) <= limits.INVOKE_LINE_BYTES:
        assert list(incoming.feed(piece)) == []
        fed += len(piece)
    with pytest.raises(RemoteProtocolError, match="line_too_long"):
        list(incoming.feed(piece))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * limits.INVOKE_LINE_BYTES


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
def test_empty_lines_hold_no_memory(line):
    incoming = reader()
    tracemalloc.start()
    for _ in range(30):
        assert list(incoming.feed(line * 1000)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a_million_tiny_lines():
    with pytest.raises(RemoteProtocolError, match="bad_message"):
        read(b"{}\n" * 1_000_000, max_line=10_000_000)
    line = b'{"type":"t","version":1}\n'
    with pytest.raises(RemoteProtocolError, match="too_many_unknown"):
        read(line * 1_000_000, max_line=100)


def test_frames_are_given_one_by_one():
    stream = reader().feed((SMALL + b"\n") * 3)
    assert isinstance(next(stream), Small)
    assert isinstance(stream, Iterator)


def test_unknown_frames_are_counted():
    incoming = reader(max_unknown=2)
    line = b'{"type":"test.later","version":1,"x":[1]}\n'
    assert list(incoming.feed(line + SMALL + b"\n" + line)) == [
        UnknownFrame("test.later"),
        Small(version=1),
        UnknownFrame("test.later"),
    ]
    with pytest.raises(RemoteProtocolError, match="too_many_unknown"):
        list(incoming.feed(line))


def test_the_type_of_an_unknown_frame_is_bounded():
    [unknown] = read(b'{"type":"' + b"x" * 500 + b'","version":1}\n')
    assert len(type_of(unknown)) == 64


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ('"r7"', "r7"),
        ('"' + "r" * 64 + '"', "r" * 64),
        ('"' + "r" * 65 + '"', ""),
        ('"a b"', ""),
        ("null", ""),
        ("7", ""),
    ],
)
def test_the_request_that_a_refusal_is_about(field, known):
    incoming = reader()
    with pytest.raises(RemoteProtocolError):
        list(incoming.feed(b'{"type":"test.wide","version":1,"requestId":' + field.encode() + b"}\n"))
    assert incoming.request_id == known


def test_the_end_of_the_stream():
    incoming = reader()
    assert list(incoming.feed(SMALL)) == []
    assert list(incoming.finish()) == [Small(version=1)]
    assert list(incoming.finish()) == []


@pytest.mark.parametrize(
    ("rest", "code"),
    [(SMALL[:-1], "cut_short"), (b"{", "cut_short"), (b"{}", "bad_message"), (b"[" * 100, "too_deep")],
)
def test_the_end_within_a_line(rest, code):
    incoming = reader()
    list(incoming.feed(rest))
    with pytest.raises(RemoteProtocolError, match=code):
        list(incoming.finish())


def test_writing():
    assert json.loads(write(Small(version=1), max_line=100)) == {"type": "test.small", "version": 1, "requestId": "r"}
    with pytest.raises(LocalProtocolError, match=r"test.wide has no JSON"):
        write(Wide(version=1, data=object()), max_line=100)
    assert type_of(Wide) == "test.wide"


@pytest.mark.parametrize(("room", "fits"), [(1, True), (0, True), (-1, False)])
def test_writing_a_long_line(room, fits):
    frame = Wide(version=1, data="x" * 100)
    size = len(msgspec.json.encode(frame))
    if fits:
        assert len(write(frame, max_line=size + room)) == size + 1
    else:
        with pytest.raises(LimitExceededError, match="parts"):
            write(frame, max_line=size + room)


class Echo(FrameMachine[Small | Wide, str]):
    """A machine that ends after two frames, and refuses a wide one."""

    def __init__(self) -> None:
        super().__init__(reader())
        self.left = 2

    def _take(self, frame: Small | Wide | UnknownFrame) -> list[str]:
        if isinstance(frame, Wide):
            raise RemoteProtocolError("no_wide", "not here", penalty=3)
        self.left -= 1
        return [type_of(frame)]

    def _end(self) -> list[str]:
        if self.left == 1:
            raise RemoteProtocolError("one_missing")
        return ["end"]

    def _over(self) -> bool:
        return self.left == 0

    def _refuse(self, error: RemoteProtocolError) -> bytes:
        return error.code.encode()


def test_a_machine_ignores_what_follows_its_end():
    machine = Echo()
    assert machine.receive((SMALL + b"\n") * 5 + b"garbage\n") == ["test.small"] * 2
    assert machine.receive(b"x" * 1_000_000) == []
    assert machine.receive_eof() == []


@pytest.mark.parametrize(
    ("data", "code", "penalty"), [(wide("1"), "no_wide", 3), (SMALL + b"\n" + b"x\n", "bad_json", 5)]
)
def test_a_machine_fails_once(data, code, penalty):
    machine = Echo()
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(data)
    assert (caught.value.code, caught.value.penalty, caught.value.reply) == (code, penalty, code.encode())
    assert machine.receive(SMALL + b"\n") == []
    assert machine.receive_eof() == []


def test_a_machine_at_the_end_of_input():
    assert Echo().receive_eof() == ["end"]
    machine = Echo()
    machine.receive(SMALL)
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive_eof()
    assert (caught.value.code, caught.value.reply) == ("one_missing", b"one_missing")
    machine = Echo()
    machine.receive(SMALL + b"\n" + SMALL)
    assert machine.receive_eof() == ["test.small"]


def test_what_a_subclass_must_say():
    machine: FrameMachine[Small | Wide, str] = FrameMachine(reader())
    for method in (machine._over, machine._end, lambda: machine._take(Small(version=1))):
        with pytest.raises(NotImplementedError):
            method()
    with pytest.raises(NotImplementedError):
        machine._refuse(RemoteProtocolError("x"))
