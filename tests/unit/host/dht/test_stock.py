"""Why Kademlia is our own: faults of py-libp2p's, each as a test. Where one fails, an upgrade has mended that fault."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.records.validator import NamespacedValidator, Validator
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from tests.harness.kad import Numbered
from tests.harness.stock import stock_host
from tests.unit.host.conftest import address_of, running_stock


class _Numbered(Validator):
    def validate(self, key, value):
        Numbered().validate(key, value)

    def select(self, key, values):
        return Numbered().select(key, values)


class _Nothing(_Numbered):
    def validate(self, key, value):
        raise ValueError("refused")


@asynccontextmanager
async def stock(host, mode=DHTMode.SERVER, schema=_Numbered, **options):
    validator = NamespacedValidator({"nexus": schema()}, strict_validation=True)
    dht = KadDHT(host, mode, validator=validator, validator_changed=True, strict_validation=True, **options)
    async with background_trio_service(dht):
        yield dht


async def know(host, dht, other) -> None:
    """Connect, and take the other into the routing table."""
    await host.get_network()._dial_addr_single_attempt(Multiaddr(address_of(other)), other.get_id())
    with trio.fail_after(10):
        while not await dht.add_peer(other.get_id()):
            await trio.sleep(0.05)


def test_the_prefix_does_nothing():
    host = stock_host("bob")
    KadDHT(host, DHTMode.SERVER, protocol_prefix="/nexus")
    assert not [p for p in host.get_mux().get_protocols() if str(p).startswith("/nexus/kad/1.0.0")]


async def test_a_reader_never_sees_the_second_record():
    async with (
        running_stock("alice") as alice,
        running_stock("bob") as bob,
        stock(alice) as server,
        stock(bob, DHTMode.CLIENT) as reader,
    ):
        await know(bob, reader, alice)
        await server.put_value("/nexus/x", b"1")
        assert await reader.get_value("/nexus/x") == b"1"
        await server.put_value("/nexus/x", b"2")
        assert await reader.get_value("/nexus/x") == b"1", "what it fetched first"


async def test_a_put_does_not_say_that_everybody_refused():
    async with (
        running_stock("alice") as alice,
        running_stock("bob") as bob,
        stock(alice, schema=_Nothing) as server,
        stock(bob) as writer,
    ):
        await know(bob, writer, alice)
        assert await writer.put_value("/nexus/x", b"1") is None
        assert not server.value_store.store


async def test_a_server_answers_twelve_and_resets_the_rest():
    """Of all peers together, so that a few busy ones lock the others out."""
    host = stock_host("alice")
    dht = KadDHT(host, DHTMode.SERVER)
    assert dht._inbound_limiter.total_tokens == 12
    reset = []

    class Stream:
        async def reset(self):
            reset.append(self)

    for _ in range(12):
        dht._inbound_limiter.acquire_on_behalf_of_nowait(object())
    await dht.handle_stream(Stream())
    assert len(reset) == 1


async def test_every_put_writes_the_whole_store(tmp_path):
    async with running_stock("alice") as alice, stock(alice, persist_dir=tmp_path) as dht:
        sizes = []
        for number in range(3):
            await dht.put_value(f"/nexus/{number}", b"1")
            sizes.append(sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()))
        assert sizes[0] < sizes[1] < sizes[2]
        assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".json"]
