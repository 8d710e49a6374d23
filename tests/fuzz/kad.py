"""Kademlia: any bytes on a stream, and whatever they say asked of a server."""

from __future__ import annotations

import contextlib

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.kad.contact import Contact, Reach
from nexusd_protocols.kad.keys import content_key
from nexusd_protocols.kad.message import MessageStream, decode, encode
from nexusd_protocols.kad.providers import Providers
from nexusd_protocols.kad.records import Records
from nexusd_protocols.kad.routing_table import RoutingTable
from nexusd_protocols.kad.server import Asker, Server
from tests.harness.kad import PROVIDED, Numbered, contact, peer
from tests.harness.vectors import vectors

_VECTORS = vectors("kad")
SEEDS = [bytes.fromhex(row["wire"]) for rows in ("messages", "refused") for row in _VECTORS[rows]] + [PROVIDED.encode()]
_OWN = contact(0)
_ASKER = Asker(peer(1), Reach.ANYWHERE, "20.1.1.0/24")


def target(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        content_key(data.decode(errors="replace"))
    stream, server = MessageStream(), _server()
    try:
        messages = stream.receive(data)
        stream.receive_eof()
    except RemoteProtocolError:
        return
    for message in messages:
        assert decode(encode(message)) == message
        try:
            answer = server.answer(_ASKER, message, 0)
        except RemoteProtocolError:
            continue
        assert answer is None or len(encode(answer)) <= limits.KAD_MESSAGE_BYTES


def _server() -> Server:
    schema = Numbered()
    table = RoutingTable(_OWN.peer)
    for number in range(1, 30):
        table.add(contact(number), "", 0)
    return Server(
        table,
        Records(_OWN.peer),
        Providers(),
        validate=lambda key, value: schema.validate(key.decode(), value),
        select=lambda key, values: schema.select(key.decode(), values),
        own_contact=lambda: Contact(_OWN.peer, _OWN.addresses),
        own_value=lambda _key: None,
        provides=lambda _key: False,
    )
