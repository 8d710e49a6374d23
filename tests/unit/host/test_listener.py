"""Fault C11: a stock host says that it listens when it does not, or shares its port with another program."""

from __future__ import annotations

import socket

import pytest
import trio
from multiaddr import Multiaddr

from nexusd.host.limits.figures import Figures
from nexusd.host.listener import ListenError, _group
from nexusd.host.ports import HostError
from tests.harness.nodes import LOOPBACK, connected, loopback, loopback_node, running, until
from tests.harness.stock import stock_host


@pytest.fixture
def taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


async def test_stock_host_still_says_nothing_of_a_port_in_use(taken):
    """If this fails, py-libp2p reports it: half of `listener` may go."""
    host = stock_host("bob")
    async with host.run([Multiaddr(f"/ip4/127.0.0.1/tcp/{taken}")]):
        assert host.get_transport_addrs() == []


async def test_stock_hosts_still_share_a_port():
    """If this fails, py-libp2p binds exclusively: the other half may go."""
    one, two = stock_host("alice"), stock_host("bob")
    async with one.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        address = one.get_transport_addrs()[0]
        async with two.run([address]):
            assert two.get_transport_addrs() == [address]


async def test_a_port_in_use_is_refused_in_words(taken):
    node = loopback_node("bob", listen=(f"/ip4/127.0.0.1/tcp/{taken}",))
    with pytest.raises(ListenError, match=rf"Port {taken} on 127\.0\.0\.1 is in use by another program"):
        await node.run()
    assert issubclass(ListenError, HostError)


async def test_two_nodes_never_share_a_port():
    async with loopback("alice") as (alice,):
        address = alice.addresses()[0].partition("/p2p/")[0]
        with pytest.raises(ListenError, match="in use"):
            await loopback_node("bob", listen=(address,)).run()


async def test_the_second_of_two_addresses_taken_leaves_the_first_free(taken):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    addresses = (f"/ip4/127.0.0.1/tcp/{free}", f"/ip4/127.0.0.1/tcp/{taken}")
    with pytest.raises(ListenError):
        await loopback_node("bob", listen=addresses).run()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free))


async def test_the_same_port_again_at_once():
    async with loopback("alice", "bob") as (alice, bob):
        await connected(bob, alice)
        address = alice.addresses()[0].partition("/p2p/")[0]
        await alice.aclose()  # alice closes first, so the port is in TIME_WAIT
        again = loopback_node("alice", listen=(address,))
        async with running(again):
            await until(lambda: not bob.connected())
            await bob.connect(again.peer_id, again.addresses())


@pytest.mark.parametrize("which", [0, 1], ids=["tcp", "websocket"])
async def test_tcp_and_websocket_share_the_chosen_port(which):
    async with loopback("alice", "bob", listen=LOOPBACK) as (alice, bob):
        plain, ws = (address.partition("/p2p/")[0] for address in bob.addresses())
        assert ws == f"{plain}/ws"
        assert not plain.endswith("/0")
        address = (plain, ws)[which]
        events = alice.peer_events()
        await alice.connect(bob.peer_id, [address])
        connect = await events.__anext__()
        assert (connect.direction, connect.address) == ("out", address)
        await until(bob.connected)


async def test_what_is_neither_tcp_nor_websocket_is_closed():
    quick = Figures(first_byte_seconds=0.2, handshake_seconds=0.4)
    async with loopback("bob", listen=LOOPBACK, figures=quick) as (bob,):
        port = int(bob.addresses()[0].split("/")[4])
        for opening in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\x01\x02", b"SSH-2.0-x\r\n", b""):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(opening)
                with trio.fail_after(8):
                    try:
                        while await stream.receive_some(100):
                            pass
                    except trio.BrokenResourceError:
                        pass


@pytest.mark.parametrize(
    "address",
    ["", "nonsense", "/ip4/127.0.0.1", "/ip4/127.0.0.1/udp/1/quic-v1", "/dns/host/tcp/1", "/ip4/999.0.0.1/tcp/1"],
)
def test_what_cannot_be_listened_on(address):
    with pytest.raises(ListenError, match="Cannot listen on"):
        _group([address])


def test_addresses_of_one_port_share_a_socket():
    ports = _group(
        ["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/tcp/4001/ws", "/ip6/::/tcp/4001", "/ip4/0.0.0.0/tcp/4002/ws"]
    )
    assert [(p.ip, p.port, p.tcp is not None, p.ws is not None) for p in ports] == [
        ("0.0.0.0", 4001, True, True),
        ("::", 4001, True, False),
        ("0.0.0.0", 4002, False, True),
    ]
