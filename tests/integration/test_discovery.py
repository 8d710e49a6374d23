"""Finding one another: by an address given at start, by mDNS on the loopback interface, and again after a loss."""

from __future__ import annotations

import socket
from functools import partial

import pytest

from tests.harness.daemon import Daemon, Home
from tests.harness.process import poll


def test_bootstrap(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave, Daemon("erin", own_home, "--bootstrap", dave.tcp) as erin:
        poll(lambda: dave.peer_id in erin.connected(), "erin found dave", every=0.1)
        (peer,) = [peer for peer in erin.cli("peers")["peers"] if peer["peerId"] == dave.peer_id]
        assert peer["source"] == "bootstrap"
        assert peer["direction"] == "out"


def test_a_bootstrap_peer_that_is_down_is_found_once_it_is_up(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave:
        address = dave.tcp
        dave.stop()
        with Daemon("erin", own_home, "--bootstrap", address) as erin:
            dave.start()
            poll(lambda: dave.peer_id in erin.connected(), "erin found dave", timeout=40, every=0.2)


def test_a_lost_peer_is_redialled(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave, Daemon("erin", own_home) as erin:
        erin.cli("connect", dave.websocket)
        dave.kill9()
        poll(lambda: dave.name and not erin.connected(), "the loss is noticed", every=0.1)
        dave.start()
        poll(lambda: dave.peer_id in erin.connected(), "redialled", timeout=40, every=0.2)


def test_known_peers_are_dialled_after_a_restart(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave, Daemon("erin", own_home) as erin:
        erin.cli("connect", dave.tcp)
        erin.restart()
        poll(lambda: dave.peer_id in erin.connected(), "found again", timeout=40, every=0.2)


def loopback_multicast() -> bool:
    """Whether a datagram to the mDNS group comes back on 127.0.0.1."""
    group = "224.0.0.251"
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind(("", 0))
        receiver.settimeout(1)
        member = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
        try:
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            sender.sendto(b"probe", (group, receiver.getsockname()[1]))
            return receiver.recv(16) == b"probe"
        except OSError:
            return False


def test_mdns_on_loopback(own_home: Home) -> None:
    if not loopback_multicast():
        pytest.skip("no multicast on the loopback interface")
    with Daemon("dave", own_home, mdns=True) as dave, Daemon("erin", own_home, mdns=True) as erin:
        poll(lambda: dave.peer_id in erin.connected(), "erin found dave", timeout=30, every=0.2)
        poll(lambda: erin.peer_id in dave.connected(), "dave sees erin", timeout=30, every=0.2)
        sources = {p["peerId"]: p["source"] for d in (dave, erin) for p in d.cli("peers")["peers"]}
        assert "mdns" in {sources[dave.peer_id], sources[erin.peer_id]}


@pytest.mark.slow
def test_direct_peers_talk_without_a_mesh_and_find_each_other_after_a_crash(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave:
        address = dave.tcp
        with Daemon("erin", own_home, "--direct", address) as erin:
            # she listens where he is told that she does only once she ran: he learns of her at his next start
            dave.stop()
            dave.flags += ["--direct", erin.tcp]
            dave.start()
            for daemon in (dave, erin):
                daemon.cli("room", "join", "yard")

            def stats(daemon: Daemon) -> dict[str, int]:
                (found,) = daemon.cli("room", "stats", "yard")["rooms"]
                return found

            def talk(word: str) -> None:
                poll(lambda: erin.peer_id in dave.connected(), "connected", timeout=60, every=0.2)
                everybody = (dave, erin)
                poll(lambda: all(stats(d)["peers"] == 1 for d in everybody), "met in the room", timeout=30, every=0.2)
                dave.cli("room", "send", "yard", word)
                heard = partial(erin.cli, "room", "history", "yard")
                poll(lambda: word in [m["content"] for m in heard()["messages"]], f"{word} was heard", every=0.1)
                assert [stats(d)["mesh"] for d in everybody] == [0, 0]

            talk("before")
            dave_id = dave.peer_id
            dave.kill9()
            poll(lambda: not erin.connected(), "the loss is noticed", timeout=30, every=0.1)
            (row,) = [each for each in erin.cli("peers")["peers"] if each["peerId"] == dave_id]
            assert row["direct"]
            assert not row["connected"]
            dave.start()
            talk("after")
