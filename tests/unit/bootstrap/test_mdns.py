"""mDNS: the TXT format, and two nodes that find each other on the loopback interface."""

from __future__ import annotations

import os
import socket
import threading

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, DNSText, InterfaceChoice, Zeroconf
from zeroconf.const import _CLASS_IN, _FLAGS_AA, _FLAGS_QR_RESPONSE, _TYPE_PTR, _TYPE_TXT

from nexusd_bootstrap import mdns, responder
from nexusd_bootstrap.candidate import ADDRESSES, Candidate
from nexusd_bootstrap.mdns import (
    INBOX,
    RESCAN_EVERY,
    SERVICE,
    SHUTDOWN_S,
    TXT_BYTES,
    Inbox,
    Mdns,
    announced,
    dnsaddrs,
    txt_data,
)
from nexusd_protocols.identity import Signer
from tests.harness.people import ALICE

LOOPBACK = ["127.0.0.1"]
MDNS_GROUP = "224.0.0.251"


# --- TXT data -------------------------------------------------------------------------------------------------------
def test_the_txt_format_of_the_libp2p_spec():
    address = f"/ip4/10.0.0.1/tcp/4001/p2p/{ALICE.peer_id}"
    data = txt_data([address])
    assert data == bytes([len(b"dnsaddr=") + len(address)]) + b"dnsaddr=" + address.encode()
    assert dnsaddrs(data) == [address]


@given(st.lists(st.text("/abc0123456789.:", max_size=260), max_size=40))
def test_txt_round_trip_within_its_bounds(addresses):
    data = txt_data(addresses)
    assert len(data) <= TXT_BYTES
    read = dnsaddrs(data)
    assert len(read) <= ADDRESSES
    kept = [address for address in addresses if len("dnsaddr=" + address) <= 255]
    assert all(address in kept for address in read)
    if sum(len(address) + 9 for address in kept) <= TXT_BYTES and len(kept) <= ADDRESSES:
        assert read == kept


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x05hello",
        b"\xffdnsaddr=/cut/off",
        b"\x08dnsaddr",
        b"\x09dnsaddr=\xff",
        b"\x0aDNSADDR=/x",
        b"\x00" * 5000,
    ],
)
def test_txt_data_without_addresses(data):
    assert [address for address in dnsaddrs(data) if address] == []


@given(st.binary(max_size=600))
def test_any_txt_data_is_read(data):
    assert len(dnsaddrs(data)) <= ADDRESSES


@pytest.mark.parametrize(
    ("addresses", "kept"),
    [
        (["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip6/::1/tcp/1"], ("/ip4/10.0.0.1/tcp/1",)),
        (["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"], ("/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1")),
        ([], ()),
    ],
)
def test_loopback_is_announced_only_where_there_is_nothing_else(addresses, kept):
    assert announced(addresses) == kept


# --- packets --------------------------------------------------------------------------------------------------------
class Update:
    def __init__(self, record):
        self.new = record


def text_record(address, *, name=f"x.{SERVICE}", ttl=120):
    return Update(DNSText(name, _TYPE_TXT, _CLASS_IN, ttl, txt_data([address])))


def test_the_inbox_takes_addresses_of_our_service_only():
    woken = []
    inbox = Inbox(lambda: woken.append(1))
    pointer = Update(DNSPointer(SERVICE, _TYPE_PTR, _CLASS_IN, 120, f"x.{SERVICE}"))
    inbox.async_update_records(
        None,
        0,
        [
            pointer,
            text_record("/one"),
            text_record("/two", name=f"X.{SERVICE.upper()}"),
            text_record("/printer", name="x._ipp._tcp.local."),
            text_record("/goodbye", ttl=0),
        ],
    )
    inbox.async_update_records(None, 0, [pointer])
    assert woken == [1]
    assert list(inbox.take()) == [["/one", "/two"]]
    assert list(inbox.take()) == []


def test_the_inbox_is_bounded():
    inbox = Inbox(lambda: None)
    for number in range(10 * INBOX):
        inbox.async_update_records(None, 0, [text_record(f"/{number}")] * 100)
    taken = list(inbox.take())
    assert len(taken) == INBOX
    assert all(len(texts) <= ADDRESSES for texts in taken)
    assert taken[-1][0] == f"/{10 * INBOX - 1}"


# --- on the network -------------------------------------------------------------------------------------------------
def multicast_works():
    """Whether a datagram to the mDNS group on loopback comes back to this host."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        try:
            receiver.bind(("", 0))
            receiver.settimeout(2)
            member = socket.inet_aton(MDNS_GROUP) + socket.inet_aton("127.0.0.1")
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            sender.sendto(b"nexusd test", (MDNS_GROUP, receiver.getsockname()[1]))
            return receiver.recv(100) == b"nexusd test"
        except OSError:
            return False


@pytest.fixture
def multicast():
    if multicast_works():
        return
    if os.environ.get("NEXUS_TEST_REQUIRE") == "all":
        pytest.fail("multicast does not work on the loopback interface")
    pytest.skip("multicast does not work on the loopback interface")


class People:
    """Keys of this test alone: the group is shared with whatever else runs on this host."""

    def __init__(self):
        self.alice, self.bob, self.carol = (Signer(os.urandom(32)) for _ in range(3))


@pytest.fixture
def people():
    return People()


def node(signer, port, **more):
    return Mdns(
        signer.peer_id, lambda: [f"/ip4/127.0.0.1/tcp/{port}/p2p/{signer.peer_id}"], interfaces=LOOPBACK, **more
    )


async def until(receive, wanted):
    """The first candidate of a peer; other tests of this host may be on the same group."""
    with trio.fail_after(20):
        async for candidate in receive:
            if candidate.peer == wanted:
                return candidate
    raise AssertionError("the channel was closed")


async def eventually(condition):
    """Wait for what zeroconf's thread does."""
    with trio.fail_after(20):
        while not condition():  # another thread brings it about, and tells nobody
            await trio.sleep(0.02)


@pytest.mark.slow
async def test_two_nodes_find_each_other_and_a_later_one_both(people, multicast):
    alice, bob = node(people.alice, 4001), node(people.bob, 4002)
    assert alice.describe() == "not running"
    to_alice, alice_found = trio.open_memory_channel(100)
    to_bob, bob_found = trio.open_memory_channel(100)
    async with trio.open_nursery() as nursery:
        await nursery.start(alice.run, to_alice)
        await nursery.start(bob.run, to_bob)
        assert await until(alice_found, people.bob.peer_id) == Candidate(
            people.bob.peer_id, ("/ip4/127.0.0.1/tcp/4002",), "mdns"
        )
        assert await until(bob_found, people.alice.peer_id) == Candidate(
            people.alice.peer_id, ("/ip4/127.0.0.1/tcp/4001",), "mdns"
        )

        to_carol, carol_found = trio.open_memory_channel(100)
        await nursery.start(node(people.carol, 4003).run, to_carol)
        await until(carol_found, people.bob.peer_id)
        await until(alice_found, people.carol.peer_id)
        await eventually(lambda: alice.heard_self)
        assert alice.describe().startswith("announced; peers found: ")
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_new_addresses_are_announced(people, multicast):
    ports = [4001]
    alice = Mdns(
        people.alice.peer_id,
        lambda: [f"/ip4/127.0.0.1/tcp/{port}/p2p/{people.alice.peer_id}" for port in ports],
        interfaces=LOOPBACK,
        interval_s=1.0,
    )
    to_alice, _ = trio.open_memory_channel(100)
    to_bob, bob_found = trio.open_memory_channel(100)
    async with trio.open_nursery() as nursery:
        await nursery.start(node(people.bob, 4002, interval_s=1.0).run, to_bob)
        await nursery.start(alice.run, to_alice)
        await until(bob_found, people.alice.peer_id)
        ports.append(4005)
        while "/ip4/127.0.0.1/tcp/4005" not in (await until(bob_found, people.alice.peer_id)).addresses:
            pass
        nursery.cancel_scope.cancel()


async def test_a_peer_that_answers_as_js_libp2p_does_is_found(people, multicast):
    """A PTR and one TXT record for each address in the answers, no SRV, no additional records."""
    out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
    out.add_answer_at_time(DNSPointer(SERVICE, _TYPE_PTR, _CLASS_IN, 120, f"js-peer.{SERVICE}"), 0)
    for address in (
        f"/ip4/127.0.0.1/tcp/9/p2p/{people.carol.peer_id}",
        f"/ip4/127.0.0.1/tcp/10/ws/p2p/{people.carol.peer_id}",
    ):
        out.add_answer_at_time(DNSText(f"js-peer.{SERVICE}", _TYPE_TXT, _CLASS_IN, 120, txt_data([address])), 0)
    (packet,) = out.packets()
    assert len(DNSIncoming(packet).answers()) == 3

    send, receive = trio.open_memory_channel(100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        async with trio.open_nursery() as nursery:
            await nursery.start(node(people.alice, 4001).run, send)
            sender.sendto(packet, (MDNS_GROUP, 5353))
            assert await until(receive, people.carol.peer_id) == Candidate(
                people.carol.peer_id, ("/ip4/127.0.0.1/tcp/9", "/ip4/127.0.0.1/tcp/10/ws"), "mdns"
            )
            nursery.cancel_scope.cancel()


async def test_hostile_packets_find_nobody_and_stop_nothing(people, multicast):
    def answer(*texts):
        out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
        for number, text in enumerate(texts):
            out.add_answer_at_time(DNSText(f"m{number}.{SERVICE}", _TYPE_TXT, _CLASS_IN, 120, text), 0)
        return out.packets()[0]

    good = answer(txt_data([f"/ip4/127.0.0.1/tcp/9/p2p/{people.carol.peer_id}"]))
    hostile = [
        b"",
        b"\xff" * 500,
        good[: len(good) // 2],
        answer(b"\xff\xff\xff"),
        answer(b"\x00" * 1000),
        answer(txt_data(["junk", "/ip4/1/tcp/1/p2p/x", f"/ip4/999.9.9.9/tcp/1/p2p/{people.carol.peer_id}"])),
        answer(txt_data([f"/ip4/127.0.0.1/tcp/1/p2p/{people.alice.peer_id}"])),
    ]
    send, receive = trio.open_memory_channel(100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        async with trio.open_nursery() as nursery:
            await nursery.start(node(people.alice, 4001).run, send)
            for packet in [*hostile, good]:
                sender.sendto(packet, (MDNS_GROUP, 5353))
            found = await until(receive, people.carol.peer_id)
            assert found.addresses == ("/ip4/127.0.0.1/tcp/9",)
            nursery.cancel_scope.cancel()


async def test_it_leaves_no_thread(people, multicast):
    before = {thread.ident for thread in threading.enumerate()}
    send, _receive = trio.open_memory_channel(100)
    async with trio.open_nursery() as nursery:
        alice = node(people.alice, 4001)
        await nursery.start(alice.run, send)
        nursery.cancel_scope.cancel()
    assert alice.describe() == "not running"
    await eventually(
        lambda: all(thread.ident in before or thread.name.startswith("Trio thread") for thread in threading.enumerate())
    )


@pytest.mark.parametrize("stuck", ["open", "register", "close"])
async def test_it_ends_within_a_second_whatever_zeroconf_is_at_and_closes_it_behind_that(
    people, monkeypatch, autojump_clock, stuck
):
    done = []
    reached = {name: threading.Event() for name in ("open", "register", "close")}
    go, closed = threading.Event(), threading.Event()

    def at(name):
        reached[name].set()
        if name == stuck:
            assert go.wait(60)
        done.append(name)

    class FakeZeroconf:
        def __init__(self, *, interfaces):
            at("open")

        def add_listener(self, listener, question): ...

        def send(self, out): ...

        def register_service(self, info, *, cooperating_responders):
            at("register")

        def close(self):
            at("close")
            closed.set()

    monkeypatch.setattr(responder, "Zeroconf", FakeZeroconf)
    send, _receive = trio.open_memory_channel(100)
    alice = node(people.alice, 4001)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alice.run, send)
        await trio.to_thread.run_sync(reached["register" if stuck == "close" else stuck].wait)
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began == pytest.approx(SHUTDOWN_S)
    assert "close" not in done
    go.set()
    await trio.to_thread.run_sync(closed.wait)
    assert done == ["open", "close"] if stuck == "open" else ["open", "register", "close"]


@pytest.mark.slow
async def test_it_can_be_run_again(people, multicast):
    send, receive = trio.open_memory_channel(100)
    alice = node(people.alice, 4001)
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(alice.run, send)
            await nursery.start(node(people.bob, 4002).run, trio.open_memory_channel(100)[0])
            await until(receive, people.bob.peer_id)
            nursery.cancel_scope.cancel()


async def test_the_trio_loop_is_never_blocked(people, multicast, monkeypatch):
    """What blocks in zeroconf runs in other threads than Trio's."""
    mine = threading.get_ident()
    callers = []
    for method in ("__init__", "register_service", "update_service", "close", "update_interfaces"):
        original = getattr(Zeroconf, method)

        def spied(self, *args, _original=original, **named):
            callers.append(threading.get_ident())
            return _original(self, *args, **named)

        monkeypatch.setattr(Zeroconf, method, spied)
    send, _receive = trio.open_memory_channel(100)
    alice = node(people.alice, 4001)
    async with trio.open_nursery() as nursery:
        await nursery.start(alice.run, send)
        await eventually(lambda: alice.heard_self)
        nursery.cancel_scope.cancel()
    assert len(callers) >= 3
    assert mine not in callers


async def test_without_an_interface_it_raises_for_the_cascade(people):
    send, _ = trio.open_memory_channel(0)
    with pytest.raises(OSError, match=r"No such device"):
        await Mdns(people.alice.peer_id, list, interfaces=["203.0.113.7"]).run(send)


async def test_without_an_address_it_only_looks(people, multicast):
    send, _ = trio.open_memory_channel(100)
    alice = Mdns(people.alice.peer_id, list, interfaces=LOOPBACK)
    async with trio.open_nursery() as nursery:
        await nursery.start(alice.run, send)
        await trio.testing.wait_all_tasks_blocked()
        assert alice.describe() == "looking; no address to announce"
        nursery.cancel_scope.cancel()


async def test_later_interfaces_are_used_too(people, monkeypatch):
    """Without interfaces of its own it takes all, and looks again and again which there are."""
    calls = []
    rescanned = trio.Event()
    token = trio.lowlevel.current_trio_token()

    class FakeZeroconf:
        def __init__(self, *, interfaces):
            calls.append(interfaces)

        def update_interfaces(self):
            calls.append("rescan")
            token.run_sync_soon(rescanned.set)

        def send(self, out):
            calls.append(len(out.packets()))

        def add_listener(self, listener, question): ...

        def close(self):
            calls.append("close")

    monkeypatch.setattr(responder, "Zeroconf", FakeZeroconf)
    monkeypatch.setattr(mdns, "INTERVALS_S", (0.0,) * (RESCAN_EVERY - 1))
    send, _ = trio.open_memory_channel(0)
    async with trio.open_nursery() as nursery:
        await nursery.start(Mdns(people.alice.peer_id, list, interval_s=0.001).run, send)
        with trio.fail_after(20):
            await rescanned.wait()
        nursery.cancel_scope.cancel()
    assert calls[0] is InterfaceChoice.All
    assert calls[1 : RESCAN_EVERY + 2] == [1] * RESCAN_EVERY + ["rescan"]
    assert calls[-1] == "close"
