"""What a comparison came to, as the schedule is told of it."""

from __future__ import annotations

import pytest

from nexusd.services.rooms.exchange import Exchanged
from nexusd.services.rooms.sync import UNSUPPORTED, Compared, _outcome
from tests.harness.nodes import signer

BOB = signer("bob").peer_id


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (Exchanged(), "equal"),
        (Exchanged(received=1), "news"),
        (Exchanged(sent=1), "news"),
        (Exchanged(received=1, complete=False), "more"),
        (Exchanged(complete=False), "failed"),
        (Exchanged(sent=1, complete=False), "failed"),
    ],
)
def test_more_is_asked_for_at_once_only_of_who_gave_something(found: Exchanged, outcome: str) -> None:
    assert _outcome(Compared(BOB, found)) == outcome


def test_who_does_not_speak_it_is_told_from_who_fails() -> None:
    assert _outcome(Compared(BOB, None, UNSUPPORTED)) == "unsupported"
    assert _outcome(Compared(BOB, None, "reset")) == "failed"
