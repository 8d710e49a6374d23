"""Whole daemons on a memory network: rooms, presence, direct messages, calls, blocking, restarts."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from nexusd.services.capabilities.ports import CallFailed, End, Incoming, Output
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.mesh import Host, done, mesh
from tests.harness.nodes import until


async def heard_by_all(hosts: list[Host], room: str, count: int, seconds: float = 120) -> None:
    with trio.fail_after(seconds):
        for host in hosts:
            while len(await host.heard(room)) < count:
                await trio.sleep(0.5)


async def talk(tmp_path: Path, nodes: int, messages: int) -> None:
    async with mesh(nodes, tmp_path, links=3) as hosts:
        for host in hosts:
            await host.join("general")
        # a message reaches whoever is in the room when it is sent: wait until everybody is
        await until(lambda: all(len(h.running.rooms._topics.peers("/nexus/room/general")) for h in hosts), 60)
        await trio.sleep(5)
        sent = []
        for number in range(messages):
            sent.append(await hosts[number % nodes].say("general", f"message {number}"))
            await trio.sleep(0.05)
        await heard_by_all(hosts, "general", messages)
        await trio.sleep(10)
        for host in hosts:
            heard = Counter(message.message_id for message in await host.heard("general"))
            assert heard == Counter(sent), "each message once, and no other"


async def test_five_hosts_hear_every_message_once(tmp_path: Path, clock: MockClock) -> None:
    await talk(tmp_path, 5, 20)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_twenty_hosts_hear_a_thousand_messages_once(tmp_path: Path, clock: MockClock) -> None:
    await talk(tmp_path, 20, 1000)


@pytest.mark.slow
async def test_members_come_go_and_fall_silent(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(3, tmp_path) as (alice, bob, carol):
        for host in (alice, bob, carol):
            await host.join("general")

        async def until_alice_sees(expected: dict[str, str]) -> None:
            with trio.fail_after(300):
                while (await alice.members("general")) != expected:
                    await trio.sleep(1)

        await until_alice_sees({alice.peer_id: "online", bob.peer_id: "online", carol.peer_id: "online"})
        done(await bob.services.rooms.leave(schema.RoomParams(room="general")))
        await until_alice_sees({alice.peer_id: "online", bob.peer_id: "offline", carol.peer_id: "online"})
        carol._network.partition([alice.ip, bob.ip], [carol.ip])
        began = trio.current_time()
        await until_alice_sees({alice.peer_id: "online", bob.peer_id: "offline", carol.peer_id: "offline"})
        assert trio.current_time() - began >= 60  # it was heard within the last minute, and is given two


async def test_who_enters_an_empty_room_is_seen_by_the_first_neighbour(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path, links=0) as (alice, bob):
        for host in (alice, bob):
            await host.join("general")
        await trio.sleep(5)  # both spoke into the void
        await alice.connect(bob)
        began = trio.current_time()
        with trio.fail_after(120):
            while len(await alice.members("general")) < 2 or len(await bob.members("general")) < 2:
                await trio.sleep(0.5)
        assert trio.current_time() - began < 20  # and not at the next heartbeat


async def test_names_travel_with_presence(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        for host in (alice, bob):
            await host.join("general")
        await alice.services.profile.set(schema.ProfileSetParams(display_name="Alice"))
        with trio.fail_after(130):
            while bob.running.services.peers.name_of(alice.peer_id) != "Alice":
                await trio.sleep(1)
        await alice.say("general", "who am I?")
        await heard_by_all([bob], "general", 1)
        assert (await bob.heard("general"))[0].sender_name == "Alice"


async def test_a_room_is_kept_over_a_restart(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        for host in (alice, bob):
            await host.join("general")
        await until(lambda: alice.running.rooms._topics.peers("/nexus/room/general"), 30)
        await trio.sleep(3)
        await alice.say("general", "before")
        await heard_by_all([bob], "general", 1)
        await bob.stop()
        await bob.start()
        # bob remembers alice and the room: nobody has to do anything
        await until(lambda: bob.running.rooms._topics.peers("/nexus/room/general"), 60)
        await trio.sleep(3)
        await alice.say("general", "after")
        await heard_by_all([bob], "general", 2)
        assert [message.content for message in await bob.heard("general")] == ["before", "after"]


async def test_a_direct_message_is_stored_and_survives(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        sent = done(await alice.services.inbox.send(schema.DmSendParams(peer=bob.peer_id, content="just us")))
        assert sent.status == "stored"
        await bob.stop()
        await bob.start()
        listed = done(await bob.services.inbox.list(schema.DmListParams()))
        assert [(m.content, m.sender, m.direction, m.status) for m in listed.messages] == [
            ("just us", alice.peer_id, "in", "received")
        ]
        mine = done(await alice.services.inbox.list(schema.DmListParams(peer=bob.peer_id)))
        assert [(m.content, m.status) for m in mine.messages] == [("just us", "stored")]


async def test_a_direct_message_to_nobody_says_so(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await bob.stop()
        refusal = await alice.services.inbox.send(schema.DmSendParams(peer=bob.peer_id, content="?"))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "unreachable"
        (message,) = done(await alice.services.inbox.list(schema.DmListParams())).messages
        assert message.status == "failed"


async def test_a_blocked_peer_is_cut_off_and_comes_back(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, mallory):
        done(await alice.services.peers.block(schema.PeersBlockParams(peer=mallory.peer_id, reason="spam")))
        refusal = await mallory.services.inbox.send(schema.DmSendParams(peer=alice.peer_id, content="buy"))
        assert isinstance(refusal, Refusal)
        mine = await alice.services.inbox.send(schema.DmSendParams(peer=mallory.peer_id, content="no"))
        assert isinstance(mine, Refusal)
        assert mine.code == "peer_blocked"
        assert "spam" in mine.message
        await alice.stop()
        await alice.start()  # the block is kept
        (peer,) = done(await alice.services.peers.list(schema.PeersListParams(blocked=True))).peers
        assert (peer.peer_id, peer.block_reason, peer.connected) == (mallory.peer_id, "spam", False)
        done(await alice.services.peers.unblock(schema.PeersUnblockParams(peer=mallory.peer_id)))
        sent = await mallory.services.inbox.send(schema.DmSendParams(peer=alice.peer_id, content="sorry"))
        assert done(sent).status == "stored"


@pytest.mark.slow
async def test_after_a_partition_peers_find_each_other_again(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        alice._network.partition([alice.ip], [bob.ip])
        await until(lambda: not alice.running.services.peers.counts[0], 60)
        await trio.sleep(60)
        alice._network.heal()
        await until(lambda: alice.running.services.peers.counts[0], 300)


class Echo:
    """A provider in this process."""

    def __init__(self) -> None:
        self.calls = 0

    async def call(self, incoming: Incoming) -> None:
        self.calls += 1
        while (piece := await incoming.receive()) is not None:
            data, final = piece
            if data is not msgspec.UNSET:
                await incoming.emit("partial", data)
            if final:
                return


class Stuck:
    """A provider that never answers."""

    async def call(self, incoming: Incoming) -> None:
        await trio.sleep_forever()


class Flood:
    """A provider that never ends."""

    async def call(self, incoming: Incoming) -> None:
        while True:
            await incoming.emit("token", "x" * 1000)


class Failing:
    """A provider that says why it cannot."""

    async def call(self, incoming: Incoming) -> None:
        raise CallFailed("OUT_OF_PAPER", "put some in")


class Wordy:
    """A provider whose event has no short name."""

    async def call(self, incoming: Incoming) -> None:
        await incoming.emit("x" * 65, "data")


class Broken:
    """A provider with a bug."""

    async def call(self, incoming: Incoming) -> None:
        raise ZeroDivisionError("bug")


async def serve(host: Host, provider: Any, **options: Any) -> None:
    params = schema.CapabilityRegisterParams(name="work", **options)
    done(await host.services.capabilities.register(params, provider))


async def call(host: Host, provider: Host, **params: Any) -> Any:
    return done(await host.services.capabilities.invoke(schema.InvokeParams(peer=provider.peer_id, **params)))


async def outcome(under_way: Any) -> tuple[list[Any], End]:
    pieces = []
    with trio.fail_after(120):
        while isinstance(item := await under_way.receive(), Output):
            pieces.append(item.data)
    return pieces, item


async def recorded(host: Host) -> Any:
    """The calls in a host's event log, once there is one: the record follows the last frame."""
    with trio.fail_after(60):
        while not (found := await host.services.events.read(after=0, kinds=["invoke"], room=None, peer=None, limit=10)):
            await trio.sleep(0.1)
    return found


async def test_a_call_and_its_record(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await serve(alice, Echo())
        pieces, end = await outcome(await call(bob, alice, capability="work", input={"a": [1, 2]}, stream=True))
        assert (pieces, end.error) == ([{"a": [1, 2]}], None)
        assert (end.input_bytes, end.output_bytes) == (11, 11)
        for host in (alice, bob):
            events = await recorded(host)
            assert [(e.type, e.data["outcome"], e.data["outputBytes"]) for e in events] == [("finished", "ok", 11)]


async def test_input_in_pieces_while_output_comes(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await serve(alice, Echo())
        under_way = await call(bob, alice, capability="work", final=False, stream=True)
        for piece in ("one", "two"):
            await under_way.send(piece, False)
            assert (await under_way.receive()).data == piece
        await under_way.send(msgspec.UNSET, True)
        assert (await outcome(under_way))[1].error is None


@pytest.mark.parametrize(
    ("provider", "params", "code", "remote"),
    [
        (Failing(), {}, "invoke_failed", "OUT_OF_PAPER"),
        (Broken(), {}, "invoke_failed", "INTERNAL"),
        (Wordy(), {"stream": True}, "invoke_failed", "BAD_OUTPUT"),
        (Stuck(), {"max_duration_ms": 2000}, "timeout", None),
        (Flood(), {"max_output_bytes": 10_000, "stream": True}, "invoke_failed", "OUTPUT_TOO_LARGE"),
    ],
    ids=["failing", "broken", "wordy", "stuck", "flood"],
)
async def test_how_a_call_can_fail(
    tmp_path: Path, clock: MockClock, provider: Any, params: dict[str, Any], code: str, remote: str | None
) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await serve(alice, provider)
        _, end = await outcome(await call(bob, alice, capability="work", input="x", **params))
        assert end.error is not None
        assert end.error.code == code
        assert remote is None or end.error.remote_code == remote
        # and the daemon goes on
        done(await alice.services.capabilities.unregister(schema.CapabilityNameParams(name="work"), owner=provider))
        await serve(alice, Echo())
        assert (await outcome(await call(bob, alice, capability="work", input="y")))[0] == ["y"]


async def test_an_unknown_capability(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        _, end = await outcome(await call(bob, alice, capability="work", input="x"))
        assert end.error is not None
        assert (end.error.code, end.error.remote_code) == ("capability_unknown", "NOT_FOUND")


async def test_the_provider_limits_its_input(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await serve(alice, Echo(), max_input_bytes=100)
        _, end = await outcome(await call(bob, alice, capability="work", input="x" * 101))
        assert end.error is not None
        assert (end.error.code, end.error.remote_code) == ("too_large", "INPUT_TOO_LARGE")


@pytest.mark.parametrize("provider", [Stuck(), Flood()], ids=["silent", "talking"])
async def test_the_caller_cancels(tmp_path: Path, clock: MockClock, provider: Any) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await serve(alice, provider)
        under_way = await call(
            bob, alice, capability="work", input="x", stream=True, max_output_bytes=1 << 30, max_duration_ms=60_000
        )
        await trio.sleep(0.2)
        await under_way.cancel("enough")
        _, end = await outcome(under_way)
        assert end.error is not None
        assert end.error.code == "invoke_cancelled"
        events = await recorded(alice)
        assert events[0].data["outcome"] in ("CANCELLED", "ok")


async def test_a_cancel_passes_any_amount_of_input_that_nobody_takes(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await serve(alice, Stuck())
        under_way = await call(bob, alice, capability="work", final=False, stream=True, max_duration_ms=600_000)
        for _ in range(6000):
            await under_way.send("x", False)
        await under_way.cancel("enough")
        assert (await outcome(under_way))[1].error is not None
        with trio.fail_after(30):
            while alice.running.capabilities.open_calls[1]:
                await trio.sleep(0.1)


async def test_the_caller_goes_away(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await serve(alice, Flood())
        await call(bob, alice, capability="work", input="x", stream=True, max_output_bytes=1 << 30)
        await trio.sleep(0.2)
        await bob.stop()
        with trio.fail_after(60):
            while alice.running.capabilities.open_calls[1]:
                await trio.sleep(0.1)


async def test_a_stopping_provider_says_so(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await serve(alice, Stuck())
        under_way = await call(bob, alice, capability="work", input="x")
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.stop)
            _, end = await outcome(under_way)
        assert end.error is not None
        assert "shutting down" in end.error.message


async def test_the_handshake_tells_what_is_offered(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        await serve(alice, Stuck(), description="works", max_concurrent=1)
        listed = done(await bob.services.capabilities.list(schema.CapabilityListParams(peer=alice.peer_id)))
        assert listed.answered
        (row,) = listed.capabilities
        assert (row.name, row.available, row.free, row.description) == ("work", True, True, "works")


@pytest.mark.slow
async def test_a_served_command_is_served_again_after_a_restart(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path) as (alice, bob):
        code = "import sys; sys.stdout.write(sys.stdin.read().upper())"
        spec = schema.CommandSpec(argv=[sys.executable, "-c", code], cwd=str(tmp_path))
        done(await alice.services.capabilities.serve(schema.CapabilityServeParams(name="upper", command=spec)))
        assert (await outcome(await call(bob, alice, capability="upper", input="loud")))[0] == ["LOUD"]
        await alice.stop()
        await alice.start()
        assert (await outcome(await call(bob, alice, capability="upper", input="again")))[0] == ["AGAIN"]


async def test_names_of_peers(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(3, tmp_path) as (alice, bob, _):
        peers = alice.services.peers
        assert peers.resolve(bob.peer_id) == bob.peer_id
        assert peers.resolve(bob.peer_id[-8:]) == bob.peer_id
        assert peers.resolve(bob.peer_id[-5:]).code == "invalid_peer"
        assert peers.resolve("zzzzzzzz").code == "unknown_peer"
        assert peers.admit(alice.peer_id).code == "invalid_peer"


@pytest.mark.parametrize("room", ["", "a/b", "🎈", "x" * 65, "../x", "a b", ".hidden"])
async def test_names_that_are_no_rooms(tmp_path: Path, clock: MockClock, room: str) -> None:
    async with mesh(1, tmp_path) as (alice,):
        refusal = await alice.services.rooms.join(schema.RoomParams(room=room))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "invalid_name"
