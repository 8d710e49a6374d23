from __future__ import annotations

import pytest
import trio

from nexusd.host.ports import ConnectionLostError, UnsupportedError
from nexusd.host.pubsub import line
from nexusd.host.pubsub.line import Line
from nexusd.host.pubsub.outbox import Backlog, Outbox


class Breaking:
    """In the place of an opener: each stream breaks after so many seconds."""

    def __init__(self, *lives: float, last: Exception | None = None) -> None:
        self._lives = list(lives)
        self._last = last or UnsupportedError("it has had enough")
        self.opened: list[float] = []

    async def open(self, *_args: object, replayable: bool) -> object:
        assert replayable
        self.opened.append(trio.current_time())
        if not self._lives:
            raise self._last
        await trio.sleep(self._lives.pop(0))
        raise ConnectionLostError("it broke")


async def run(opener: Breaking) -> list[float]:
    """The pauses between the end of one stream and the next."""
    lost: list[float] = []
    boxes = Backlog()
    subject = Line(
        opener,
        "bob",
        "/meshsub/1.1.0",
        made=lambda _line: Outbox(boxes, lambda _priority: None),
        moved=lambda _outbox: None,
        lost=lambda _line: lost.append(trio.current_time()),
    )
    await subject.run()
    assert boxes.peers == 0, "every outbox was closed"
    return [after - before for before, after in zip(lost, opener.opened[1:], strict=False)]


async def test_a_stream_that_breaks_at_once_is_opened_ever_later(autojump_clock):
    assert await run(Breaking(0, 0, 0, 0)) == pytest.approx([1, 5, 30, 30])


async def test_one_that_lasted_is_opened_again_soon(autojump_clock):
    assert await run(Breaking(0, 0, line.STEADY_SECONDS, 0)) == pytest.approx([1, 5, 1, 5])


async def test_who_does_not_speak_the_protocol_is_left_alone(autojump_clock):
    opener = Breaking()
    assert await run(opener) == []
    assert len(opener.opened) == 1
