"""The event feed on a connection: no gap, no repeat, and a subscriber that stalls is cut with its cursor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from nexusd.api.connection import Bounds
from nexusd_protocols import limits
from tests.harness.door import Door, open_door
from tests.harness.rawrpc import RawClient
from tests.harness.services import FakeEvents


async def subscribe(client: RawClient, **params: Any) -> dict[str, Any]:
    answer = await client.call("node.subscribe", params)
    result: dict[str, Any] = answer["result"]
    return result


async def test_without_a_cursor_it_begins_now(door: Door) -> None:
    door.fakes.events.store("room", "old")
    client = await door.connect()
    assert await subscribe(client) == {"subscription": "s1", "cursor": 1}
    door.fakes.events.store("room", "new")
    event = await client.hear_until("node.event")
    assert event == {"subscription": "s1", "kind": "room", "type": "message", "cursor": 2, "at": 2, "data": "new"}


async def test_from_the_beginning_and_from_a_cursor(door: Door) -> None:
    for number in range(200):
        door.fakes.events.store("room", number)
    client = await door.connect()
    assert (await subscribe(client, cursor=0))["cursor"] == 0
    assert [(await client.hear_until("node.event"))["data"] for _ in range(200)] == list(range(200))
    other = await door.connect()
    await subscribe(other, cursor=150)
    assert [(await other.hear_until("node.event"))["data"] for _ in range(50)] == list(range(150, 200))


async def test_a_page_that_large_rows_cut_short_is_not_the_last(door: Door) -> None:
    door.fakes.events.page = 3
    for number in range(10):
        door.fakes.events.store("room", number)
    client = await door.connect()
    await subscribe(client, cursor=0)
    with trio.fail_after(5):
        assert [(await client.hear_until("node.event"))["cursor"] for _ in range(10)] == list(range(1, 11))


async def test_a_cursor_of_the_future_is_refused(door: Door) -> None:
    client = await door.connect()
    answer = await client.call("node.subscribe", {"cursor": 1})
    assert answer["error"]["data"]["code"] == "bad_cursor"


async def test_filters(door: Door) -> None:
    events = door.fakes.events
    client = await door.connect()
    await subscribe(client, kinds=["room", "presence"], room="general")
    events.store("room", "elsewhere", "other")
    events.store("dm", "private")
    events.emit("presence", "bob")
    assert (await client.hear_until("node.event"))["data"] == "bob"
    events.store("room", "here", "general")
    assert (await client.hear_until("node.event"))["data"] == "here"


async def test_what_a_filter_leaves_out_is_not_read_again_and_again(door: Door) -> None:
    """Nor does a subscription that fits nothing keep the daemon busy."""
    events = door.fakes.events
    for _ in range(1000):
        events.store("dm", "private")
    client = await door.connect()
    await subscribe(client, kinds=["room"], cursor=0)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert events.reads <= 2
    events.store("room", "one")
    event = await client.hear_until("node.event")
    assert (event["data"], event["cursor"]) == ("one", 1001)


async def test_live_events_have_no_cursor(door: Door) -> None:
    client = await door.connect()
    await subscribe(client)
    await trio.testing.wait_all_tasks_blocked()
    door.fakes.events.emit("peer", {"peerId": "x"})
    event = await client.hear_until("node.event")
    assert (event["cursor"], event["type"]) == (None, "changed")


async def test_unsubscribing_says_where_to_continue(door: Door) -> None:
    client = await door.connect()
    begun = await subscribe(client)
    door.fakes.events.store("room", 1)
    await client.hear_until("node.event")
    await client.ask("node.unsubscribe", begun["subscription"] and {"subscription": begun["subscription"]})
    ended = await client.hear_until("node.subscriptionEnded")
    assert ended == {"subscription": "s1", "reason": "unsubscribed", "cursor": 1}
    assert (await client.hear())["result"] == {}
    door.fakes.events.store("room", 2)
    assert (await client.call("node.unsubscribe", {"subscription": "s1"}))["result"] == {}
    assert not door.fakes.events.listeners


async def test_stopping_says_where_to_continue(door: Door) -> None:
    client = await door.connect()
    await subscribe(client)
    door.fakes.events.store("room", 1)
    await client.hear_until("node.event")
    door.scope.cancel()
    ended = await client.hear_until("node.subscriptionEnded")
    assert ended == {"subscription": "s1", "reason": "shutting_down", "cursor": 1}
    assert await client.hear() is None


async def test_subscriptions_of_one_connection_are_bounded(path: Path) -> None:
    async with open_door(path, Bounds(subscriptions=2)) as door:
        client = await door.connect()
        for _ in range(2):
            await subscribe(client)
        assert (await client.call("node.subscribe"))["error"]["data"]["code"] == "busy"
        await client.call("node.unsubscribe", {"subscription": "s1"})
        assert (await subscribe(client))["subscription"] == "s3"


async def test_reconnecting_again_and_again_misses_and_repeats_nothing(door: Door) -> None:
    """Messages keep coming while the subscriber leaves, without a word, after each few."""
    total, got, cursor = 2000, [], 0

    async def publish() -> None:
        for number in range(total):
            door.fakes.events.store("room", number)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        while len(got) < total:
            client = await door.connect()
            await subscribe(client, cursor=cursor)
            for _ in range(min(37, total - len(got))):
                event = await client.hear_until("node.event")
                got.append(event["data"])
                cursor = event["cursor"]
            await client.close()
    assert got == list(range(total))


async def test_a_stalled_subscriber_is_cut_with_its_cursor(path: Path, autojump_clock: MockClock) -> None:
    """It finds, behind all that was sent before, why and where to continue; and continues without loss or repeat."""
    events = FakeEvents()
    async with open_door(path, events=events) as door:
        client = await door.connect()
        await subscribe(client)
        for number in range(5000):
            events.store("room", f"{number} " + "x" * 1000)
        began = trio.current_time()
        while door.fakes.events.listeners:
            await trio.sleep(1)
        assert limits.RPC_STALL_SECONDS <= trio.current_time() - began <= limits.RPC_STALL_SECONDS + 2
        got = []
        while (message := await client.hear())["method"] == "node.event":
            got.append(message["params"]["data"])
        ended = message["params"]
        assert (ended["reason"], ended["cursor"]) == ("stalled", len(got))
        assert len(got) * 1000 < limits.RPC_OUTGOING_BYTES + 1024 * 1024
        assert (await client.call("node.status"))["result"]  # the connection goes on
        await subscribe(client, cursor=ended["cursor"])
        while len(got) < 5000:
            got.append((await client.hear_until("node.event"))["data"])
        assert [data.split()[0] for data in got] == [str(number) for number in range(5000)]


async def test_a_subscriber_that_does_not_even_take_the_reason_is_disconnected(
    path: Path, autojump_clock: MockClock
) -> None:
    events = FakeEvents()
    async with open_door(path, events=events) as door:
        client, other = await door.connect(), await door.connect()
        await subscribe(client)
        for _ in range(5000):
            events.store("room", "x" * 1000)
        await trio.sleep(2 * limits.RPC_STALL_SECONDS + 2)
        while await client.line():
            pass  # what the kernel held
        assert (await other.call("node.status"))["result"]


async def test_a_slow_subscriber_that_takes_something_is_not_cut(path: Path, autojump_clock: MockClock) -> None:
    events = FakeEvents()
    async with open_door(path, events=events) as door:
        client = await door.connect()
        await subscribe(client)
        for number in range(3000):
            events.store("room", f"{number} " + "x" * 1000)
        got = 0
        while got < 3000:
            await trio.sleep(limits.RPC_STALL_SECONDS * 0.9)
            for _ in range(min(500, 3000 - got)):
                assert (await client.hear())["method"] == "node.event"
                got += 1


async def test_a_client_without_subscription_may_read_when_it_likes(path: Path, autojump_clock: MockClock) -> None:
    async with open_door(path) as door:
        door.fakes.node.padding = 100_000
        client = await door.connect()
        for number in range(50):
            await client.ask("node.status", request_id=number)
        await trio.sleep(10 * limits.RPC_STALL_SECONDS)
        assert {(await client.hear())["id"] for _ in range(50)} == set(range(50))


async def test_a_stalled_subscriber_holds_up_no_other(path: Path) -> None:
    events = FakeEvents()
    async with open_door(path, events=events) as door:
        stalled, good = await door.connect(), await door.connect()
        await subscribe(stalled)
        await subscribe(good)

        async def publish() -> None:
            for number in range(5000):
                events.store("room", f"{number} " + "x" * 1000)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            with trio.fail_after(20):
                for number in range(5000):
                    assert (await good.hear_until("node.event"))["data"].startswith(f"{number} ")
