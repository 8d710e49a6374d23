"""Both ends of `/nexus/chat-sync/1.1.0` against specs/chat-sync.md §6."""

from __future__ import annotations

import json

import pytest

from nexusd_protocols.chatsync.published import Ask, PublishedProvider, PublishedRequester, Tell
from nexusd_protocols.content.cid import JSON, Cid
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.ids import RoomId

LAB = RoomId("lab")
CIDS = tuple(Cid.of(JSON, b"%d" % n) for n in range(4))


def request(**fields: object) -> bytes:
    value = {"type": "sync.request", "version": 1, "roomId": "lab", "maxBatches": 3} | fields
    return json.dumps({name: each for name, each in value.items() if each is not ...}).encode() + b"\n"


def response(**fields: object) -> bytes:
    value = {"type": "sync.response", "version": 1, "roomId": "lab", "batches": [str(CIDS[0])]} | fields
    return json.dumps({name: each for name, each in value.items() if each is not ...}).encode() + b"\n"


def asked(most: int = 3) -> PublishedRequester:
    requester = PublishedRequester()
    requester.send(Ask(LAB, None, most))
    return requester


def test_a_request_has_the_published_fields():
    line = PublishedRequester().send(Ask(LAB, CIDS[3], 10))
    assert json.loads(line) == {
        "type": "sync.request",
        "version": 1,
        "roomId": "lab",
        "sinceCheckpoint": str(CIDS[3]),
        "maxBatches": 10,
    }
    assert "sinceCheckpoint" not in json.loads(PublishedRequester().send(Ask(LAB)))


def test_one_request_one_response():
    requester, provider = PublishedRequester(), PublishedProvider()
    ask = Ask(LAB, CIDS[3], 2)
    assert provider.receive(requester.send(ask)) == [ask]
    assert provider.receive_eof() == []
    tell = Tell(CIDS[2], CIDS[:2])
    line = provider.send(tell)
    assert json.loads(line) == {
        "type": "sync.response",
        "version": 1,
        "roomId": "lab",
        "latestCheckpoint": str(CIDS[2]),
        "batches": [str(CIDS[0]), str(CIDS[1])],
    }
    assert requester.receive(line) == [tell]
    assert requester.receive_eof() == []
    assert requester.receive(line) == []


def test_a_request_id_is_given_back_where_there_is_one():
    provider = PublishedProvider()
    assert provider.receive(request(requestId="r1")) == [Ask(LAB, None, 3)]
    assert json.loads(provider.send(Tell())) == {
        "type": "sync.response",
        "version": 1,
        "requestId": "r1",
        "roomId": "lab",
        "batches": [],
    }


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (request(roomId="../lab"), "bad_room"),
        (request(maxBatches=-1), "bad_message"),
        (request(maxBatches="all"), "bad_message"),
        (request(roomId=...), "bad_message"),
        (request(sinceCheckpoint="bafkreihdwdcefgh"), "bad_cid"),
        (request(version=2), "bad_version"),
        (request(type="sync.hello"), "unexpected_frame"),
        (response(), "unexpected_frame"),
        (request() + request(), "unexpected_frame"),
        (b"{\n", "bad_json"),
        (b"x" * 70_000, "line_too_long"),
    ],
)
def test_a_bad_request_is_refused(data, code):
    provider = PublishedProvider()
    with pytest.raises(RemoteProtocolError) as caught:
        provider.receive(data)
    assert (caught.value.code, caught.value.reply) == (code, b"")
    with pytest.raises(LocalProtocolError):
        provider.send(Tell())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (response(roomId="other"), "wrong_room"),
        (response(batches=[str(cid) for cid in CIDS]), "too_many_batches"),
        (response(batches=["nothing"]), "bad_cid"),
        (response(latestCheckpoint="Qm"), "bad_cid"),
        (response(batches="all"), "bad_message"),
        (request(), "unexpected_frame"),
    ],
)
def test_a_bad_response_is_refused(data, code):
    requester = asked()
    with pytest.raises(RemoteProtocolError) as caught:
        requester.receive(data)
    assert caught.value.code == code
    assert requester.receive(response()) == []


def test_a_later_version_may_say_more():
    requester = asked()
    assert requester.receive(b'{"type":"sync.progress","version":1}\n') == []
    assert requester.receive(response(more=1)) == [Tell(None, CIDS[:1])]


def test_an_end_without_a_response():
    with pytest.raises(RemoteProtocolError, match="cut_short"):
        asked().receive_eof()
    assert PublishedRequester().receive_eof() == []
    assert PublishedProvider().receive_eof() == []


def test_misuse():
    requester = asked()
    with pytest.raises(LocalProtocolError, match="one request"):
        requester.send(Ask(LAB))
    provider = PublishedProvider()
    with pytest.raises(LocalProtocolError, match="nothing to answer"):
        provider.send(Tell())
    provider.receive(request(maxBatches=1))
    with pytest.raises(LocalProtocolError, match="1 batches"):
        provider.send(Tell(None, CIDS))
