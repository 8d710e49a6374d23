"""Sources together: none takes another down."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from nexusd_bootstrap.candidate import Candidate
from nexusd_bootstrap.cascade import LONGEST_RETRY_S, STEADY_S, WINDOW_S, Cascade
from nexusd_protocols.identity import PeerId


def candidate(number, port=1, source="fake"):
    return Candidate(PeerId(f"peer{number}"), (f"/ip4/10.0.0.{number}/tcp/{port}",), source)


class Fake:
    """A source that does what it is told."""

    def __init__(self, script, name="fake"):
        self.name = name
        self.script = script
        self.runs = []

    async def run(self, found, *, task_status=trio.TASK_STATUS_IGNORED):
        self.runs.append(trio.current_time())
        task_status.started()
        await self.script(found)

    def describe(self):
        return f"run {len(self.runs)} times"


async def take(cascade, count):
    return [await cascade.candidates.receive() for _ in range(count)]


async def test_what_all_sources_find_comes_out_of_one_channel(autojump_clock):
    async def one(found):
        await found.send(candidate(1, source="one"))

    async def two(found):
        await trio.sleep(1)
        await found.send(candidate(2, source="two"))

    cascade = Cascade([Fake(one, "one"), Fake(two, "two")])
    assert [status.state for status in cascade.describe()] == ["waiting", "waiting"]
    async with trio.open_nursery() as nursery:
        await nursery.start(cascade.run)
        assert await take(cascade, 2) == [candidate(1, source="one"), candidate(2, source="two")]
        await trio.testing.wait_all_tasks_blocked()
        status = cascade.describe()
        assert [(row.name, row.state, row.detail, row.found) for row in status] == [
            ("one", "done", "run 1 times", 1),
            ("two", "done", "run 1 times", 1),
        ]
        nursery.cancel_scope.cancel()


async def test_a_failing_source_is_run_again_with_back_off_and_harms_no_other(autojump_clock):
    async def fails(found):
        raise OSError("no network")

    async def works(found):
        for number in range(1, 4):
            await found.send(candidate(number))
            await trio.sleep(1000)

    failing = Fake(fails, "failing")
    cascade = Cascade([failing, Fake(works, "works")])
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(cascade.run)
            assert len(await take(cascade, 3)) == 3
            status = cascade.describe()[0]
            nursery.cancel_scope.cancel()
    pauses = [after - before for before, after in zip(failing.runs, failing.runs[1:], strict=False)]
    assert pauses[:5] == pytest.approx([1, 2, 4, 8, 16])
    assert max(pauses) == pytest.approx(LONGEST_RETRY_S)
    assert (status.state, status.detail) == ("failed", "OSError: no network")
    assert status.failures == len(failing.runs)
    assert logs[0]["event"] == "source_failed"
    assert (logs[0]["source"], logs[0]["retry_s"]) == ("failing", 1.0)


async def test_back_off_begins_anew_after_a_steady_run(autojump_clock):
    async def fails_late(found):
        await trio.sleep(0 if len(source.runs) < 4 else STEADY_S)
        raise OSError("gone")

    source = Fake(fails_late)
    cascade = Cascade([source])
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(cascade.run)
            await trio.sleep(200)
            nursery.cancel_scope.cancel()
    assert [entry["retry_s"] for entry in logs[:4]] == [1, 2, 4, 1]


async def test_errors_of_a_nursery_inside_a_source_count_as_its_failure(autojump_clock):
    async def boom():
        raise RuntimeError("thread died")

    async def fails(found):
        async with trio.open_nursery() as inner:
            inner.start_soon(boom)
            inner.start_soon(trio.sleep_forever)

    cascade = Cascade([Fake(fails)])
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(cascade.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert "ExceptionGroup" in logs[0]["error"]


async def test_the_same_find_is_handed_on_once_in_the_window(autojump_clock):
    async def repeats(found):
        while True:
            await found.send(candidate(1))
            await trio.sleep(1)

    async def with_another_address(found):
        await found.send(candidate(1, port=2))

    cascade = Cascade([Fake(repeats, "a"), Fake(repeats, "b"), Fake(with_another_address, "c")])
    counts = Counter()
    async with trio.open_nursery() as nursery:
        await nursery.start(cascade.run)
        with trio.move_on_after(3 * WINDOW_S - 0.5):
            async for found in cascade.candidates:
                counts[found.addresses] += 1
        nursery.cancel_scope.cancel()
    assert counts == {candidate(1).addresses: 3, candidate(1, port=2).addresses: 1}


async def test_what_is_remembered_is_bounded(autojump_clock):
    async def many(found):
        for number in range(1000):
            await found.send(candidate(number))

    cascade = Cascade([Fake(many)], remembered=10)
    async with trio.open_nursery() as nursery:
        await nursery.start(cascade.run)
        assert len(await take(cascade, 1000)) == 1000
        assert len(cascade._recent) <= 10
        nursery.cancel_scope.cancel()


async def test_sources_wait_while_nobody_takes_candidates(autojump_clock):
    sent = []

    async def floods(found):
        for number in range(10_000):
            await found.send(candidate(number))
            sent.append(number)

    cascade = Cascade([Fake(floods)], capacity=4)
    async with trio.open_nursery() as nursery:
        await nursery.start(cascade.run)
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) < 10
        await take(cascade, 100)
        await trio.testing.wait_all_tasks_blocked()
        assert 100 <= len(sent) < 110
        nursery.cancel_scope.cancel()


async def test_a_source_that_closes_its_channel_can_be_run_again(autojump_clock):
    async def closes(found):
        async with found:
            await found.send(candidate(len(source.runs)))
        raise OSError("again")

    source = Fake(closes)
    cascade = Cascade([source])
    with capture_logs():
        async with trio.open_nursery() as nursery:
            await nursery.start(cascade.run)
            assert [c.peer for c in await take(cascade, 3)] == ["peer1", "peer2", "peer3"]
            nursery.cancel_scope.cancel()
