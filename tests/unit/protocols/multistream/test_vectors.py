"""The golden vectors."""

from __future__ import annotations

import pytest

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.multistream.dialer import Dialer
from nexusd_protocols.multistream.listener import Listener
from nexusd_protocols.multistream.messages import MessageReader, encode
from tests.harness.vectors import named, vectors

VECTORS = vectors("multistream")


@pytest.mark.parametrize("row", **named(VECTORS["messages"]))
def test_messages(row):
    assert encode(row["text"]).hex() == row["wire"]
    reader = MessageReader()
    reader.feed(bytes.fromhex(row["wire"]))
    assert reader.take() == row["text"]


def check(machine, said: bytes, row) -> None:
    refused = None
    try:
        for piece in row["receive"]:
            said += machine.receive(bytes.fromhex(piece))
    except RemoteProtocolError as error:
        refused = {"code": error.code, "penalty": error.penalty}
    assert refused == row.get("refused")
    if refused:
        return
    assert (said.hex(), machine.agreed, machine.ahead.hex()) == (row["says"], row["agreed"], row["ahead"])


@pytest.mark.parametrize("row", **named(VECTORS["listener"]))
def test_listener(row):
    check(Listener(VECTORS["served"]), b"", row)


@pytest.mark.parametrize("row", **named(VECTORS["dialer"]))
def test_dialer(row):
    machine = Dialer(row["proposes"])
    check(machine, machine.start(), row)
    assert machine.refused == ("says" in row and row["agreed"] is None)
