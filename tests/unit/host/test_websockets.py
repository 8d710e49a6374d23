"""WebSocket addresses, and dialling them with and without TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from nexusd.host.ports import PeerConnected, UnreachableError
from nexusd.host.websocket_connection import accept
from nexusd.host.websockets import Target, WebSockets
from tests.harness.nodes import LOOPBACK, loopback, next_event, until

PEER = "/p2p/12D3KooWQCkBm1BYtkHpocxCwMgR8yjitEeHGx8spzcDLGt2gkBm"


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("/ip4/192.0.2.1/tcp/80/ws", Target(socket.AF_INET, "192.0.2.1", 80, None)),
        ("/ip4/192.0.2.1/tcp/80/ws" + PEER, Target(socket.AF_INET, "192.0.2.1", 80, None)),
        ("/ip6/::1/tcp/80/ws", Target(socket.AF_INET6, "::1", 80, None)),
        ("/dns/bob.example/tcp/443/wss", Target(socket.AF_UNSPEC, "bob.example", 443, "bob.example")),
        ("/dns4/bob.example/tcp/443/tls/ws" + PEER, Target(socket.AF_INET, "bob.example", 443, "bob.example")),
        ("/ip6/::1/tcp/443/tls/sni/bob.example/ws", Target(socket.AF_INET6, "::1", 443, "bob.example")),
        ("/ip4/192.0.2.1/tcp/80", None),
        ("/ip4/192.0.2.1/udp/80/ws", None),
        ("/ip4/192.0.2.1/tcp/80/tls", None),
        ("/ip4/192.0.2.1/tcp/80/ws/wss", None),
        ("/ip4/192.0.2.1/tcp/80/tls/wss", None),
        ("/ip4/192.0.2.1/tcp/80/tls/sni/ws", None),
        ("/unix/a/tcp/80/ws", None),
        ("/ip4/192.0.2.1/tcp/-1/ws", None),
        ("/ip4/192.0.2.1/tcp/80/ws/p2p-circuit", None),
        ("", None),
    ],
)
def test_where_an_address_leads(address, target):
    assert Target.of(address) == target


class Authority:
    """Signs certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "our own authority")])
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = self._sign(self.name, self.key, constraint)

    def _sign(self, subject, key, extension):
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(extension, critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def trust(self) -> ssl.SSLContext:
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def server(self, path, *names) -> ssl.SSLContext:
        """For a server of these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(list(names))
        signed = self._sign(x509.Name([]), key, names)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + signed.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        return context


@asynccontextmanager
async def proxied(bob, context):
    """A port with TLS, as a reverse proxy has it, in front of a node's WebSocket."""
    port = int(next(a for a in bob.addresses() if "/ws" in a).split("/")[4])

    async def pipe(source, sink):
        try:
            while data := await source.receive_some():
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.aclose_forcefully(sink)

    async def handle(stream):
        async with await trio.open_tcp_stream("127.0.0.1", port) as inner, trio.open_nursery() as nursery:
            outer = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            nursery.start_soon(pipe, outer, inner)
            nursery.start_soon(pipe, inner, outer)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("end", ["wss", "tls/ws", "tls/sni/bob.example/ws"])
async def test_wss_with_a_certificate_that_is_trusted(end, tmp_path, monkeypatch):
    authority = Authority()
    names = x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("bob.example")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with (
        loopback("alice", "bob", listen=LOOPBACK) as (alice, bob),
        proxied(bob, authority.server(tmp_path / "bob.pem", *names)) as port,
    ):
        address = f"/ip4/127.0.0.1/tcp/{port}/{end}"
        events = alice.peer_events()
        await alice.connect(bob.peer_id, [address])
        assert (await next_event(events, PeerConnected, bob.peer_id)).address == address
        await until(bob.connected)


@pytest.mark.parametrize("fault", ["strange authority", "another name", "no TLS"])
async def test_wss_that_is_not_what_it_says(fault, tmp_path):
    authority = Authority()
    trusted = Authority() if fault == "strange authority" else authority
    context = authority.server(tmp_path / "bob.pem", x509.DNSName("bob.example"))
    name = "carol.example" if fault == "another name" else "bob.example"
    async with (
        loopback("bob", listen=LOOPBACK) as (bob,),
        proxied(bob, context) as port,
    ):
        if fault == "no TLS":
            port = int(bob.addresses()[0].split("/")[4])
        address = Multiaddr(f"/ip4/127.0.0.1/tcp/{port}/tls/sni/{name}/ws")
        with pytest.raises(OpenConnectionError), trio.fail_after(10):
            await WebSockets(trusted.trust).dial(address)


async def test_a_proxy_of_the_environment_is_left_alone(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:1")
    async with loopback("alice", "bob", listen=LOOPBACK) as (alice, bob):
        address = next(address for address in bob.addresses() if "/ws" in address)
        events = alice.peer_events()
        await alice.connect(bob.peer_id, [address])
        assert (await next_event(events, PeerConnected, bob.peer_id)).address == address.partition("/p2p/")[0]


@pytest.mark.parametrize("answer", [b"", b"\x13/multistream/1.0.0\n", b"HTTP/1.1 502 Bad Gateway\r\n\r\n"])
async def test_no_websocket_there(answer):
    async def handle(stream):
        await stream.receive_some(4096)
        await stream.send_all(answer)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        port = listener.socket.getsockname()[1]
        with pytest.raises(OpenConnectionError):
            await WebSockets().dial(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}/ws"))
        nursery.cancel_scope.cancel()


async def test_a_cancelled_dial_closes_its_socket():
    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def handle(stream):
            while await stream.receive_some(4096):
                pass
            ended.set()

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        port = listener.socket.getsockname()[1]
        with trio.move_on_after(0.1):
            await WebSockets().dial(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}/ws"))
        with trio.fail_after(5):
            await ended.wait()
        nursery.cancel_scope.cancel()


async def test_a_node_that_stops_leaves_no_socket_open():
    """The stock transport closed what it had dialled only when it was collected, with a ResourceWarning."""
    async with loopback("bob", listen=LOOPBACK) as (bob,):
        address = next(address for address in bob.addresses() if "/ws" in address)
        async with loopback("alice") as (alice,):
            await alice.connect(bob.peer_id, [address])
            (connection,) = alice._swarm.get_connections()
            stream = connection.muxed_conn.secured_conn._raw.stream._stream
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some(1)
        await until(lambda: not bob.connected())


async def test_a_peer_by_name():
    async def handle(stream):
        await accept(stream, ("127.0.0.1", 1))

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        port = listener.socket.getsockname()[1]
        for kind in ("dns", "dns4"):
            raw = await WebSockets().dial(Multiaddr(f"/{kind}/localhost/tcp/{port}/ws"))
            assert raw.get_remote_address() == ("127.0.0.1", port)
            await raw.close()
        nursery.cancel_scope.cancel()


async def test_why_a_person_cannot_reach_a_peer():
    async with loopback("alice", "bob", "carol", listen=LOOPBACK) as (alice, bob, carol):
        address = next(address for address in bob.addresses() if "/ws" in address).partition("/p2p/")[0]
        with pytest.raises(UnreachableError, match="another peer answered"):
            await alice.connect(carol.peer_id, [address])
