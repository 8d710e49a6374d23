"""Streams on which a peer begins to say something and never comes to the end, a letter a second."""

from __future__ import annotations

import json
import time

import pytest
import trio

from nexusd.host.patience import SLACK_SECONDS
from nexusd_protocols.dm.frames import MANY
from tests.attack.penalties import charges
from tests.harness.daemon import Daemon
from tests.harness.js import JsPeer
from tests.harness.mallory import HANDSHAKE, INVOKE, Line, mallory
from tests.harness.process import poll
from tests.harness.witness import witnessed

OPEN = {
    "type": "invoke.open", "version": 1, "requestId": "r1", "capability": "upper", "inputFormat": "text/plain",
    "outputMode": "stream", "maxDurationMs": 600_000,
}  # fmt: skip
MESSAGE = {"type": "dm.message", "version": 1, "contentFormat": "text/plain", "content": "x"}
STREAMS = 8
"""Of each kind."""
GRACE_SECONDS = 10.0
"""For a busy machine, beside what a message has."""

GOOD_BEFORE = {"a first request": (HANDSHAKE, []), "input": (INVOKE, [OPEN]), "a second message": (MANY, [MESSAGE])}


@pytest.mark.slow
@pytest.mark.parametrize("what", GOOD_BEFORE)
async def test_what_trickles_in_ends_and_is_named(alice: Daemon, carol: JsPeer, what: str) -> None:
    protocol, before = GOOD_BEFORE[what]
    lasted: list[float] = []

    async def trickle(line: Line) -> None:
        await line.write(b'{"type":"')
        began = time.monotonic()
        while await line.write(b"x"):
            await trio.sleep(1)
        lasted.append(time.monotonic() - began)

    with witnessed(alice, carol):
        async with mallory(alice, name=f"slow with {what}") as m:
            lines = [await m.open(alice, protocol) for _ in range(STREAMS)]
            for number, line in enumerate(lines):
                frames = [frame | {"messageId": f"slow-{number}"} if protocol == MANY else frame for frame in before]
                await line.write(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))
            with trio.fail_after(SLACK_SECONDS + GRACE_SECONDS):
                async with trio.open_nursery() as nursery:
                    for line in lines:
                        nursery.start_soon(trickle, line)
            assert len(lasted) == STREAMS
            assert min(lasted) > SLACK_SECONDS - 1, "it had its time"
            poll(lambda: charges(alice, m.peer_id).count("too_slow") == STREAMS, "each in the log")
