"""When a connection is kept for the next use, and how long an event stream waits for a daemon that went away."""

from __future__ import annotations

import socket
from contextlib import nullcontext

import pytest

from nexusd.client.errors import NexusError
from nexusd.client.exchange import Absence
from nexusd.client.pool import Pool, is_silent


class Taken(Pool[str]):
    """Writes down what becomes of its connections."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def take(self) -> str:
        return "link"

    def give_back(self, link: str) -> None:
        self.said.append("kept")

    def drop(self, link: str) -> None:
        self.said.append("dropped")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "kept"),
        (NexusError.of("not_found", "a refusal"), "kept"),
        (NexusError.of("timeout", "its answer may still come"), "dropped"),
        (NexusError.of("connection_lost", "gone"), "dropped"),
        (KeyboardInterrupt(), "dropped"),
    ],
)
def test_a_connection_is_kept_after_a_clean_use_or_a_refusal(error: BaseException | None, said: str) -> None:
    pool = Taken()
    with nullcontext() if error is None else pytest.raises(type(error)), pool.one() as link:
        assert (link, pool.said) == ("link", [])
        if error is not None:
            raise error
    assert pool.said == [said]


def test_a_socket_is_silent_until_something_comes_or_it_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        assert is_silent(ours)
        theirs.send(b"x")
        assert not is_silent(ours)
        ours.recv(1)
        theirs.close()
        assert not is_silent(ours)
    assert not is_silent(ours), "nor one that is closed"


def test_an_absence_is_borne_until_patience_is_at_an_end() -> None:
    away, absence = NexusError.of("daemon_unreachable", "away"), Absence(1.0)
    assert not absence.bears(NexusError.of("forbidden", "no"), 0.0)
    absence.over()
    now, pauses = 100.0, []
    while absence.bears(away, now):
        pauses.append(absence.next_pause())
        now += pauses[-1]
    assert pauses == [0.05, 0.1, 0.2, 0.4]
    absence.over()
    assert absence.bears(away, now)
    assert absence.next_pause() == 0.05
