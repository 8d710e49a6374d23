"""Two daemons that know one another, started once for all tests of a worker: alice is attacked, bob looks on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nexusd.client import Nexus
from tests.harness import js
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.js import JsPeer
from tests.harness.witness import Testimony, witnessed


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    place = Home()
    yield place
    place.remove()


@pytest.fixture(scope="session")
def pair(home: Home) -> Iterator[tuple[Daemon, Daemon]]:
    with Daemon("alice", home) as alice, Daemon("bob", home) as bob:
        connect(bob, alice)
        alice.cli("capability", "serve", "upper", "--", "tr", "a-z", "A-Z")
        yield alice, bob


@pytest.fixture(scope="session")
def alice(pair: tuple[Daemon, Daemon]) -> Daemon:
    return pair[0]


@pytest.fixture(scope="session")
def bob(pair: tuple[Daemon, Daemon]) -> Daemon:
    return pair[1]


@pytest.fixture(scope="session")
def carol(home: Home) -> Iterator[JsPeer]:
    """An honest js-libp2p peer, who watches over attacks: see `witness`. Not connected."""
    js.require()
    with JsPeer("carol", home.directory) as peer:
        yield peer


@pytest.fixture
def watched(alice: Daemon, carol: JsPeer) -> Iterator[Testimony]:
    """Carol visits alice for as long as a test lasts, and is let in. What alice may grow by, each test says itself."""
    with witnessed(alice, carol, mebibytes=64) as told:
        yield told
    print(f"carol: {told}")


@pytest.fixture
def own_home() -> Iterator[Home]:
    """A host for a test that starts and stops daemons of its own."""
    place = Home()
    yield place
    place.remove()


@pytest.fixture(autouse=True)
def works_afterwards(alice: Daemon, bob: Daemon) -> Iterator[None]:
    """Whatever happened, honest bob still gets his call answered and his message stored."""
    yield
    with Nexus.connect(data_dir=bob.data_dir, timeout=10) as nexus:
        assert nexus.invoke(alice.peer_id, "upper", "still here") == "STILL HERE"
        assert nexus.inbox.send(alice.peer_id, "still here").status == "stored"
