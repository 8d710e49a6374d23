from __future__ import annotations

import pytest
from msgspec.structs import replace

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.kad.contact import Contact, place_of
from nexusd_protocols.kad.keys import content_key
from nexusd_protocols.kad.message import Kind, Message, MessageStream, Record
from tests.harness.vectors import named, vectors

VECTORS = vectors("kad")


def contacts(rows) -> tuple[Contact, ...]:
    return tuple(Contact(row["id"], tuple(map(bytes.fromhex, row["addresses"]))) for row in rows)


def read_all(wire: bytes) -> None:
    stream = MessageStream()
    stream.receive(wire)
    stream.receive_eof()


@pytest.mark.parametrize("row", **named(VECTORS["messages"]))
def test_messages(row):
    record = row["record"] and Record(
        bytes.fromhex(row["record"]["key"]), bytes.fromhex(row["record"]["value"]), row["record"]["receivedAt"]
    )
    message = Message(
        Kind[row["type"]],
        bytes.fromhex(row["key"]),
        record,
        contacts(row["closerPeers"]),
        contacts(row["providerPeers"]),
    )
    assert MessageStream().send(message).hex() == row["wire"]
    read = replace(message, record=record and replace(record, received_at=0))
    assert MessageStream().receive(bytes.fromhex(row["wire"])) == [read]


@pytest.mark.parametrize("row", **named(VECTORS["refused"]))
def test_refused(row):
    with pytest.raises(RemoteProtocolError) as caught:
        read_all(bytes.fromhex(row["wire"]))
    assert (caught.value.code, caught.value.penalty) == (row["code"], row["penalty"])


@pytest.mark.parametrize("row", **named(VECTORS["content"]))
def test_content(row):
    assert content_key(row["cid"]).hex() == row["key"]


@pytest.mark.parametrize("row", **named(VECTORS["places"]))
def test_places(row):
    assert f"{place_of(bytes.fromhex(row['key'])):064x}" == row["place"]
