"""Both ends of `/nexus/chat-sync/2.0.0` against specs/chat-sync.md §4, §5."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.chatsync import codec
from nexusd_protocols.chatsync.frames import (
    Compare,
    Frame,
    Head,
    Headed,
    Messages,
    Open,
    Opened,
    Put,
    Refused,
    Took,
    Want,
    deliveries,
)
from nexusd_protocols.chatsync.index import Key, Summary
from nexusd_protocols.chatsync.ranges import Fingerprint, Items, Ranges, Skip
from nexusd_protocols.chatsync.stream import Delivered, SyncInitiator, SyncResponder, Undelivered
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.ids import RoomId
from tests.harness.examples import examples

OPEN = Open(RoomId("lab"), 5)
OPENED = Opened(7, None, 0)
ASKED = Compare(Ranges(Key(5, b""), (Fingerprint.of(Key(9, b""), Summary(3, 3)),)))
EQUAL = Compare(Ranges(Key(5, b""), (Skip(Key(9, b"")),)))
MESSAGES = [b"one", b"two", b"three"]
DIGESTS = [hashlib.sha256(raw).digest() for raw in MESSAGES]
FOUND = dict(zip(DIGESTS, MESSAGES, strict=True))


def opened(**bounds: int) -> tuple[SyncInitiator, SyncResponder]:
    """Both ends, a room opened."""
    initiator, responder = SyncInitiator(**bounds), SyncResponder()
    assert responder.receive(initiator.send(OPEN)) == [OPEN]
    assert initiator.receive(responder.send(OPENED)) == [OPENED]
    return initiator, responder


def initiator_that(command: Frame, **bounds: int) -> SyncInitiator:
    """One that has asked this."""
    initiator, _ = opened(**bounds)
    initiator.send(command)
    return initiator


def refused(machine, *frames: Frame) -> RemoteProtocolError:
    """How a machine refuses the last of these frames; behind it nothing is read."""
    *before, last = frames
    for frame in before:
        machine.receive(codec.encode(frame))
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(codec.encode(last))
    assert machine.receive(codec.encode(last)) == []
    assert machine.receive_eof() == []
    with pytest.raises(LocalProtocolError):
        machine.send(OPEN)
    return caught.value


def test_a_whole_session():
    initiator, responder = opened()
    assert responder.receive(initiator.send(ASKED)) == [ASKED]
    assert initiator.receive(responder.send(EQUAL)) == [EQUAL]

    want = Want((*DIGESTS, bytes(32)))
    assert responder.receive(initiator.send(want)) == [want]
    events = []
    for frame in deliveries(want.digests, FOUND):
        events += initiator.receive(responder.send(frame))
    assert events == [Delivered(tuple(FOUND.items())), Undelivered((bytes(32),))]
    [digest, raw] = [FOUND and DIGESTS[0], MESSAGES[0]]
    assert events[0].messages[0] == (digest, raw)

    put = Put((b"mine", b"too"))
    assert responder.receive(initiator.send(put)) == [put]
    took = Took(1, ((hashlib.sha256(b"too").digest(), "known"),))
    assert initiator.receive(responder.send(took)) == [took]

    head = Head(1, 5)
    assert responder.receive(initiator.send(head)) == [head]
    assert initiator.receive(responder.send(Headed(None, 0))) == [Headed(None, 0)]

    assert responder.receive_eof() == []
    assert initiator.receive_eof() == []


@given(st.lists(st.integers(1, 30), min_size=1))
@settings(deadline=None, max_examples=examples(50))
def test_bytes_come_in_any_pieces(cuts):
    initiator = initiator_that(Want(tuple(DIGESTS)))
    frames = [Messages((MESSAGES[1],), (DIGESTS[0],), last=False), Messages((MESSAGES[2],), (), last=True)]
    raw = b"".join(map(codec.encode, frames))
    events, at = [], 0
    while at < len(raw):
        size = cuts[at % len(cuts)]
        events += initiator.receive(raw[at : at + size])
        at += size
    assert events == [
        Delivered(((DIGESTS[1], MESSAGES[1]),)),
        Delivered(((DIGESTS[2], MESSAGES[2]),)),
        Undelivered((DIGESTS[0],)),
    ]


def test_all_that_came_leaves_nothing_undelivered():
    initiator = initiator_that(Want(tuple(DIGESTS)))
    assert initiator.receive(codec.encode(Messages(tuple(MESSAGES), (), last=True)))[-1] == Undelivered(())


def test_what_is_passed_over_in_silence_is_undelivered_too():
    initiator = initiator_that(Want(tuple(DIGESTS)))
    assert initiator.receive(codec.encode(Messages((), (), last=True))) == [Undelivered(tuple(DIGESTS))]


# --- the initiator and a peer that lies -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("command", "frames", "code"),
    [
        (ASKED, [Took(0, ())], "unexpected_frame"),
        (ASKED, [OPENED], "unexpected_frame"),
        (ASKED, [OPEN], "unexpected_frame"),
        (ASKED, [EQUAL, EQUAL], "unexpected_frame"),
        (ASKED, [Compare(Ranges(Key(5, b""), (Skip(Key(8, b"")),)))], "wrong_ranges"),
        (ASKED, [ASKED], "no_progress"),
        (Want((DIGESTS[0],)), [Messages((b"other",), (), last=True)], "unasked_message"),
        (Want((DIGESTS[0],)), [Messages((MESSAGES[0], MESSAGES[0]), (), last=True)], "unasked_message"),
        (Want((DIGESTS[0],)), [Messages((), (DIGESTS[1],), last=True)], "unasked_message"),
        (Want((DIGESTS[0],)), [Messages((MESSAGES[0],), (DIGESTS[0],), last=True)], "unasked_message"),
        (Want((DIGESTS[0],)), [Messages((), (DIGESTS[0],), last=False)] * 2, "unasked_message"),
        (Want((DIGESTS[0],)), [Messages((), (), last=False)], "empty_frame"),
        (Put((b"a",)), [Took(2, ())], "wrong_count"),
        (Put((b"a",)), [Took(0, ())], "wrong_count"),
        (Put((b"a",)), [Took(0, ((DIGESTS[0], "no"),))], "wrong_count"),
    ],
)
def test_an_answer_that_is_none_is_refused(command, frames, code):
    error = refused(initiator_that(command), *frames)
    assert (error.code, error.penalty, error.reply) == (code, 10, b"")


def test_a_message_put_twice_counts_once():
    initiator = initiator_that(Put((b"a", b"a")))
    assert initiator.receive(codec.encode(Took(1, ()))) == [Took(1, ())]


def test_promises_that_are_never_kept_end_in_a_refusal():
    initiator, _ = opened()
    for at in range(3):
        digests = tuple((at * 256 + n).to_bytes(32, "big") for n in range(256))
        initiator.send(Want(digests))
        absent = Messages((), digests, last=True)
        if at < 2:
            assert initiator.receive(codec.encode(absent)) == [Undelivered(digests)]
            continue
        error = refused(initiator, absent)
        assert (error.code, error.penalty) == ("empty_promises", 10)


def test_a_refusal_ends_the_session():
    initiator = initiator_that(ASKED)
    assert initiator.receive(codec.encode(Refused("busy")) + codec.encode(EQUAL)) == [Refused("busy")]
    assert initiator.receive(codec.encode(EQUAL)) == []
    assert initiator.receive_eof() == []
    with pytest.raises(LocalProtocolError, match="over"):
        initiator.send(ASKED)


@pytest.mark.parametrize("more", [b"", b"\x05", codec.encode(EQUAL)[:-1]])
def test_an_end_that_comes_too_early(more):
    initiator = initiator_that(ASKED)
    assert initiator.receive(more) == []
    with pytest.raises(RemoteProtocolError) as caught:
        initiator.receive_eof()
    assert (caught.value.code, caught.value.penalty) == ("cut_short", 1)


def test_an_end_within_a_frame():
    _, responder = opened()
    responder.receive(b"\x05\xa1")
    with pytest.raises(RemoteProtocolError, match="cut_short"):
        responder.receive_eof()


# --- the initiator's own misuse, and its bounds -----------------------------------------------------------------------
def test_one_request_at_a_time_and_the_room_first():
    initiator = SyncInitiator()
    with pytest.raises(LocalProtocolError, match="opened first"):
        initiator.send(ASKED)
    initiator.send(OPEN)
    with pytest.raises(LocalProtocolError, match="under way"):
        initiator.send(ASKED)
    initiator.receive(codec.encode(OPENED))
    with pytest.raises(LocalProtocolError, match="opened first"):
        initiator.send(OPEN)


@pytest.mark.parametrize(
    "command",
    [
        Want(()),
        Want((DIGESTS[0], DIGESTS[0])),
        Want(tuple(n.to_bytes(32, "big") for n in range(257))),
        Put(()),
        Put((b"",)),
        Put((b"m",) * 257),
    ],
)
def test_what_no_responder_takes_is_not_sent(command):
    initiator, _ = opened()
    with pytest.raises(LocalProtocolError, match="expected"):
        initiator.send(command)
    assert initiator.send(Head(1, 2))


@pytest.mark.parametrize(
    ("bounds", "command", "limit"),
    [
        ({"max_rounds": 0}, ASKED, "rounds"),
        ({"max_wants": 2}, Want(tuple(DIGESTS)), "wants"),
        ({"max_bytes": 2}, Put((b"one",)), "bytes"),
        ({"max_frame": 100}, Put((b"x" * 101,)), "frame"),
    ],
)
def test_more_than_a_session_is_for_is_not_sent_and_the_session_goes_on(bounds, command, limit):
    initiator, _ = opened(**bounds)
    with pytest.raises(LimitExceededError) as caught:
        initiator.send(command)
    assert caught.value.limit == limit
    assert initiator.send(Head(1, 2))


# --- the responder ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("frames", "code", "penalty"),
    [
        ([ASKED], "unexpected_frame", 10),
        ([OPENED], "unexpected_frame", 10),
        ([OPEN, ASKED], "second_request", 10),
    ],
)
def test_what_is_no_request_is_refused_and_answered(frames, code, penalty):
    error = refused(SyncResponder(), *frames)
    assert (error.code, error.penalty) == (code, penalty)
    (reply,) = codec.FrameBuffer().feed(error.reply)
    assert codec.decode(reply) == Refused(code)


@pytest.mark.parametrize(
    ("bounds", "frame", "code", "penalty"),
    [
        ({}, OPEN, "unexpected_frame", 10),
        ({}, Took(0, ()), "unexpected_frame", 10),
        ({}, Compare(Ranges(Key(5, b""), (Items(Key(9, b""), ()),))), "bad_request", 10),
        ({}, Head(5, 5), "bad_head", 10),
        ({}, Head(0, limits.SYNC_HEAD_HOURS + 1), "bad_head", 10),
        ({"max_rounds": 0}, ASKED, "too_many_rounds", 1),
        ({"max_rounds": 0}, Head(1, 2), "too_many_rounds", 1),
        ({"max_wants": 2}, Want(tuple(DIGESTS)), "too_many_wanted", 1),
        ({"max_bytes": 2}, Put((b"one",)), "too_many_bytes", 1),
    ],
)
def test_a_request_that_is_not_for_a_session_is_refused(bounds, frame, code, penalty):
    responder = SyncResponder(**bounds)
    responder.receive(codec.encode(OPEN))
    responder.send(OPENED)
    error = refused(responder, frame)
    assert (error.code, error.penalty) == (code, penalty)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (ASKED, OPENED),
        (ASKED, Took(0, ())),
        (Want((DIGESTS[0],)), Took(0, ())),
        (Want((DIGESTS[0],)), Messages((b"other",), (), last=True)),
        (Want((DIGESTS[0],)), Messages((MESSAGES[0], MESSAGES[0]), (), last=True)),
        (Put((b"a",)), Headed(None, 0)),
        (Head(1, 2), EQUAL),
    ],
)
def test_an_answer_to_something_else_is_not_sent(request_, answer):
    _, responder = opened()
    responder.receive(codec.encode(request_))
    with pytest.raises(LocalProtocolError):
        responder.send(answer)


def test_a_responder_answers_once_and_may_refuse_anything():
    _, responder = opened()
    with pytest.raises(LocalProtocolError, match="nothing that was asked"):
        responder.send(EQUAL)
    responder.receive(codec.encode(Want((DIGESTS[0],))))
    assert responder.send(Messages((MESSAGES[0],), (), last=False))
    assert responder.send(Refused("shutting_down"))
    assert responder.receive(codec.encode(ASKED)) == []
    with pytest.raises(LocalProtocolError):
        responder.send(Refused("again"))
