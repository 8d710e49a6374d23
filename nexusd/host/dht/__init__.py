"""Kademlia on `/nexus/kad/1.1.0`: records and providers without a server. (protocols/specs/kad.md)

    put, provide: renewals -> search (who is closest) -> requester (tell each)
    get, find_*:  search, asking each on the way
    inbound:      router -> serving -> kad.server -> tables -> store, now and then

py-libp2p's implementation is not used: what it does wrong, and the tests that show it, are in
tests/unit/host/dht/test_stock.py.
"""

from nexusd.host.dht.dht import Dht
from nexusd.host.dht.pointers import PointerRecords
from nexusd.host.dht.ports import NAMESPACE, PROTOCOL, Found, NoRecords, RecordSchema, Role, Shelf

__all__ = ["NAMESPACE", "PROTOCOL", "Dht", "Found", "NoRecords", "PointerRecords", "RecordSchema", "Role", "Shelf"]
