"""Peers of other implementations, and a daemon of ours, made once for all tests of a worker; and chains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import chains, go, js
from tests.harness.daemon import Daemon, Home
from tests.harness.foreign import ForeignPeer
from tests.harness.go import GoPeer
from tests.harness.js import JsPeer
from tests.harness.localchain import LocalChain
from tests.harness.process import poll


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    js.require()
    place = Home()
    yield place
    place.remove()


@pytest.fixture(scope="session")
def alice(home: Home) -> Iterator[Daemon]:
    with Daemon("alice", home) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def carol(home: Home, alice: Daemon) -> Iterator[JsPeer]:
    """The JavaScript peer, which dialled alice over TCP. Each module has another one: what it owes for broken frames of
    one protocol counts against it in rooms."""
    with JsPeer("carol", home.directory) as peer:
        peer.call("dial", address=alice.tcp)
        peer.event("identified", lambda event: event["peer"] == alice.peer_id)
        yield peer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever comes first builds the Go peer, and others wait for it."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(go.BUILD_S + 120))


@pytest.fixture(scope="session", params=["js", "go"])
def bob(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignPeer]:
    """A peer of another implementation, which is its name; two more nodes in it speak TLS alone and plaintext alone."""
    nodes = [{}, {"security": "tls"}, {"security": "plaintext"}]
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "js":
        js.require()
        made: ForeignPeer = JsPeer("js", directory, nodes=nodes)
    else:
        go.require()
        made = GoPeer("go", directory, nodes=nodes, dht=True)
    with made as peer:
        yield peer


_shared: set[tuple[str, str, str]] = set()


def share_room(alice: Daemon, carol: JsPeer, room: str) -> None:
    """Both join, unless they did, and the mesh stands in both directions."""
    meeting = (alice.peer_id, carol.peer_id, room)
    if meeting in _shared:
        return
    _shared.add(meeting)
    alice.cli("room", "join", room)
    carol.call("join", room=room)
    poll(lambda: alice.peer_id in carol.call("subscribers", room=room)["mesh"], "alice in the mesh of carol")
    # a message that arrives is the proof that there is a way back
    poll(
        lambda: alice.rpc("room.send", room=room, content="ping")["peers"] > 0,
        "carol among the neighbours of alice",
        every=0.2,
    )


on_anvil = pytest.mark.parametrize("chain_process", ["anvil"], indirect=True)


@pytest.fixture(scope="module", params=chains.BOTH)
def chain_process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    """A chain of each kind in turn, or only one of anvil for a test marked `on_anvil`."""
    with chains.start(request.param, tmp_path_factory.mktemp(request.param)) as process:
        yield process
