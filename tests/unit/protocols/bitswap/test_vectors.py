from __future__ import annotations

import pytest

from nexusd_protocols.bitswap.message import Kind, Message, MessageStream, Payload, Want
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import RemoteProtocolError
from tests.harness.vectors import named, vectors

VECTORS = vectors("bitswap")


def cids(texts) -> tuple[Cid, ...]:
    return tuple(map(Cid.parse, texts))


def message_of(row) -> Message:
    return Message(
        tuple(Want(Cid.parse(w["cid"]), Kind[w["kind"]], w["priority"], w["answer"]) for w in row["wants"]),
        cids(row["cancels"]),
        row["full"],
        tuple(Payload(Cid.parse(b["cid"]), bytes.fromhex(b["data"])) for b in row["blocks"]),
        cids(row["haves"]),
        cids(row["lacks"]),
        tuple(map(bytes.fromhex, row["foreign"])),
        row["strays"],
    )


def read_all(wire: bytes) -> None:
    stream = MessageStream()
    stream.receive(wire)
    stream.receive_eof()


@pytest.mark.parametrize("row", **named(VECTORS["messages"]))
def test_messages(row):
    assert MessageStream().send(message_of(row)).hex() == row["wire"]
    assert MessageStream().receive(bytes.fromhex(row["wire"])) == [message_of(row)]


@pytest.mark.parametrize("row", **named(VECTORS["read"]))
def test_what_others_write(row):
    assert MessageStream().receive(bytes.fromhex(row["wire"])) == [message_of(row)]


@pytest.mark.parametrize("row", **named(VECTORS["refused"]))
def test_refused(row):
    with pytest.raises(RemoteProtocolError) as caught:
        read_all(bytes.fromhex(row["wire"]))
    assert (caught.value.code, caught.value.penalty) == (row["code"], row["penalty"])
