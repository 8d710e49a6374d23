"""Three daemons that know one another, started once for all tests of a worker; each test uses rooms of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.daemon import Daemon, Home, connect


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    place = Home()
    yield place
    place.remove()


@pytest.fixture(scope="session")
def mesh(home: Home) -> Iterator[tuple[Daemon, Daemon, Daemon]]:
    """alice, bob and carol; bob and carol each dialled alice."""
    with Daemon("alice", home) as alice, Daemon("bob", home) as bob, Daemon("carol", home) as carol:
        connect(bob, alice)
        connect(carol, alice)
        yield alice, bob, carol


@pytest.fixture(scope="session")
def alice(mesh: tuple[Daemon, Daemon, Daemon]) -> Daemon:
    return mesh[0]


@pytest.fixture(scope="session")
def bob(mesh: tuple[Daemon, Daemon, Daemon]) -> Daemon:
    return mesh[1]


@pytest.fixture(scope="session")
def carol(mesh: tuple[Daemon, Daemon, Daemon]) -> Daemon:
    return mesh[2]


@pytest.fixture
def own_home() -> Iterator[Home]:
    """A host for a test that starts and stops daemons of its own."""
    place = Home()
    yield place
    place.remove()
