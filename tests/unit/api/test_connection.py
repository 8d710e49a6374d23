"""One client's connection: what it may send, what it gets, and that it holds up nobody but itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from nexusd.api.connection import Bounds
from nexusd.api.dispatch import INLINE, file_handlers, handlers
from nexusd.store.errors import StorageError, StorageFailedError, StorageFullError
from nexusd_protocols.rpc import schema
from tests.harness.door import Door, open_door


def code(answer: Any) -> str:
    return str(answer["error"]["data"]["code"])


async def test_every_method_of_the_schema_is_answered(door: Door) -> None:
    services = door.fakes.services
    assert set(handlers(services)) | set(file_handlers(services)) | set(INLINE) == set(schema.METHODS)
    assert set(file_handlers(services)) == {row.name for row in schema.METHODS.values() if row.file is not None}


async def test_services_are_reached(door: Door) -> None:
    client = await door.connect()
    assert (await client.call("node.status"))["result"]["name"] == "alice"
    assert (await client.call("peers.list"))["result"]["peers"][0]["connected"] is True
    assert (await client.call("peers.block", {"peer": "12D3KooWBob", "reason": "spam"}))["result"] == {}
    assert door.fakes.peers.blocked == {"12D3KooWBob": "spam"}
    assert (await client.call("profile.set", {"displayName": "al"}))["result"]["displayName"] == "al"
    assert (await client.call("dm.send", {"peer": "p", "content": "c"}))["result"]["status"] == "stored"
    assert (await client.call("rpc.discover"))["result"]["openrpc"].startswith("1.")


async def test_refusals_carry_code_data_and_what_to_do(door: Door) -> None:
    client = await door.connect()
    answer = await client.call("peers.block", {"peer": "x"})
    assert answer["error"]["code"] == -32004
    assert answer["error"]["data"] == {
        "code": "ambiguous_peer",
        "try": "give more of the peer id",
        "exitCode": 1,
        "detail": ["12D3KooWAlice", "12D3KooWBob"],
    }
    assert code(await client.call("no.such.method")) == "method_not_found"
    assert code(await client.call("room.join", {"room": 1})) == "invalid_params"
    assert code(await client.call("room.join", {"rom": "x"})) == "invalid_params"
    assert code(await client.call("room.join", ["x"])) == "invalid_params"


async def test_a_fault_of_a_service_is_told_without_its_details(door: Door) -> None:
    client = await door.connect()
    answer = await client.call("config.show")
    assert code(answer) == "internal_error"
    assert "fault of the service" not in json.dumps(answer)
    assert (await client.call("node.status"))["result"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(StorageFullError("The disk is full"), "storage_full"), (StorageFailedError("The disk failed"), "internal_error")],
)
async def test_a_store_that_cannot_says_why(
    door: Door, monkeypatch: pytest.MonkeyPatch, error: StorageError, expected: str
) -> None:
    async def cannot(_params: object) -> object:
        raise error

    monkeypatch.setattr(door.fakes.profile, "set", cannot)
    client = await door.connect()
    answer = await client.call("profile.set", {"displayName": "al"})
    assert code(answer) == expected
    assert answer["error"]["message"] == str(error)


async def test_a_request_without_id_is_carried_out_and_not_answered(door: Door) -> None:
    client = await door.connect()
    await client.tell("profile.set", {"displayName": "al"})
    await client.tell("no.such", {})
    await client.tell("room.join", {"room": 7})
    answer = await client.call("node.status", request_id=9)
    assert answer["id"] == 9
    assert door.fakes.profile.name == "al"


async def test_malformed_lines_are_refused_and_the_connection_goes_on(door: Door) -> None:
    client = await door.connect()
    for bad, word in (
        (b"hello\n", "parse_error"),
        (b"{}\n", "invalid_request"),
        (b"[" * 10_000 + b"]" * 10_000 + b"\n", "parse_error"),
        (b'{"jsonrpc":"2.0","id":1,"method":"room.join","params":{"room":NaN}}\n', "parse_error"),
        (b'{"jsonrpc":"2.0","id":1,"method":"room.join","params":{"room":"\xff\xfe"}}\n', "parse_error"),
    ):
        await client.write(bad)
        assert code(await client.hear()) == word
    assert (await client.call("node.status"))["result"]


async def test_a_batch_of_10000_is_refused_as_a_whole(door: Door) -> None:
    client = await door.connect()
    await client.say([{"jsonrpc": "2.0", "id": n, "method": "node.status"} for n in range(10_000)])
    assert code(await client.hear()) == "invalid_request"
    assert door.fakes.node.most == 0
    await client.say([{"jsonrpc": "2.0", "id": n, "method": "node.status"} for n in range(64)])
    assert sorted(answer["id"] for answer in await client.hear()) == list(range(64))


async def test_a_line_of_10_megabytes_is_refused_and_the_connection_closed(door: Door) -> None:
    client = await door.connect()

    async def send() -> None:
        await client.write(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 10_000_000 + b'"}\n')

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert code(await client.hear()) == "invalid_request"
        assert await client.hear() is None
    other = await door.connect()
    assert (await other.call("node.status"))["result"]


@pytest.mark.slow
async def test_a_million_tiny_lines(door: Door) -> None:
    """Each is refused; the client reads late, so reading pauses; another client is served meanwhile."""
    client, other = await door.connect(), await door.connect()
    total = 1_000_000
    refused = 0

    async def send() -> None:
        for _ in range(total // 10_000):
            await client.write(b"1\n" * 10_000)
        await client.stream.send_eof()

    async def receive() -> None:
        nonlocal refused
        while data := await client.stream.receive_some(1 << 20):
            refused += data.count(b"\n")

    answered = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
        while refused < total:
            assert (await other.call("node.status"))["result"]
            answered += 1
    assert refused == total
    assert answered > total / 10_000, "its turn comes"


async def test_requests_are_answered_at_once_up_to_a_bound(path: Path) -> None:
    async with open_door(path, Bounds(pending=8)) as door:
        door.fakes.node.gate = trio.Event()
        client = await door.connect()
        for number in range(20):
            await client.ask("node.status", request_id=number)
        with trio.fail_after(5):
            while door.fakes.node.running < 8:
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert door.fakes.node.running == 8
        door.fakes.node.gate.set()
        answers = [(await client.hear())["id"] for _ in range(20)]
        assert sorted(answers) == list(range(20))
        assert door.fakes.node.most == 8


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_not_read_from(path: Path) -> None:
    """A thousand large answers are asked for and none is read: only a few are made."""
    async with open_door(path) as door:
        door.fakes.node.padding = 100_000
        client = await door.connect()
        asked = 0
        with trio.move_on_after(1):
            for asked in range(1_000_000):
                await client.ask("node.status", request_id=asked)
        [connection] = connections()
        waiting = connection._outgoing.size
        assert waiting < Bounds().outgoing_bytes + Bounds().pending * 101_000
        other = await door.connect()
        assert (await other.call("node.status"))["result"]
        # and once it reads, every answer comes
        assert len({(await client.hear())["id"] for _ in range(asked)}) == asked


async def test_64_clients_of_which_4_never_read(door: Door) -> None:
    door.fakes.node.padding = 10_000
    clients = [await door.connect() for _ in range(64)]
    answered = 0

    async def never_read(client: Any) -> None:
        number = 0
        while True:
            number += 1
            await client.ask("node.status", request_id=number)

    async def use(client: Any) -> None:
        nonlocal answered
        for number in range(50):
            assert (await client.call("node.status", request_id=number))["result"]
            answered += 1

    async with trio.open_nursery() as nursery:
        for client in clients[:4]:
            nursery.start_soon(never_read, client)
        async with trio.open_nursery() as users:
            for client in clients[4:]:
                users.start_soon(use, client)
        nursery.cancel_scope.cancel()
    assert answered == 60 * 50


async def test_a_client_that_says_no_more_still_gets_its_answers(door: Door) -> None:
    door.fakes.node.gate = trio.Event()
    client = await door.connect()
    await client.ask("node.status")
    await client.stream.send_eof()
    with trio.fail_after(5):
        while not door.fakes.node.running:
            await trio.lowlevel.checkpoint()
    door.fakes.node.gate.set()
    assert (await client.hear())["result"]
    assert await client.hear() is None


async def test_a_client_that_leaves_in_the_middle_of_a_line(door: Door) -> None:
    client = await door.connect()
    await client.write(b'{"jsonrpc":"2.0","id":1,"met')
    await client.close()
    other = await door.connect()
    assert (await other.call("node.status"))["result"]
    with trio.fail_after(5):
        while len(connections()) > 1:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("reads", [True, False])
async def test_leaving_ends_the_connection_with_requests_under_way(path: Path, reads: bool) -> None:
    async with open_door(path, Bounds(finish_seconds=0.05)) as door:
        door.fakes.node.gate = trio.Event()
        client = await door.connect()
        await client.ask("node.status")
        with trio.fail_after(5):
            while not door.fakes.node.running:
                await trio.lowlevel.checkpoint()
        await (client.stream.send_eof() if reads else client.close())
        with trio.fail_after(5):
            while connections():
                await trio.sleep(0.005)
        assert door.fakes.node.running == 0


def connections() -> list[Any]:
    """The connections that are being served, found through their tasks."""
    found = []
    pending = [trio.lowlevel.current_root_task()]
    while pending:
        task = pending.pop()
        if task is None:
            continue
        for nursery in task.child_nurseries:
            pending.extend(nursery.child_tasks)
        if task.name.endswith("socket._serve_one"):
            found.append(task.coro.cr_frame.f_locals["client"])  # type: ignore[union-attr]  # a coroutine, as above
    return found
