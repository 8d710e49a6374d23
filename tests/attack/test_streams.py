"""Hostile streams: calls, direct messages, handshakes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from tests.harness.daemon import Daemon
from tests.harness.mallory import DM, HANDSHAKE, INVOKE, Mallory, mallory, unharmed
from tests.harness.nodes import until
from tests.harness.process import poll

pytestmark = pytest.mark.usefixtures("watched")

OPEN: dict[str, Any] = {
    "type": "invoke.open",
    "version": 1,
    "requestId": "r1",
    "capability": "upper",
    "inputFormat": "text/plain",
    "outputMode": "stream",
}
CHUNK: dict[str, Any] = {
    "type": "invoke.chunk", "version": 1, "requestId": "r1", "seq": 0, "isFinalInput": True, "data": "x"
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "type": "dm.message", "version": 1, "messageId": "d1", "contentFormat": "text/plain", "content": "x"
}  # fmt: skip
INIT: dict[str, Any] = {
    "type": "handshake.init", "version": 1, "requestId": "r1", "peerId": "", "agentName": "m", "agentType": "tool",
    "wanted": {"capabilityStatus": True},
}  # fmt: skip

NOT_FRAMES = {
    "not JSON": b"hello\n",
    "not an object": b"[1]\n",
    "no fields": b"{}\n",
    "no newline, then the end": b'{"type":"invoke.open"',
    "NaN": b'{"type":"x","version":1,"x":NaN}\n',
    "not UTF-8": b'{"type":"x","version":1,"x":"\xff\xfe"}\n',
    "10,000 deep": b'{"type":"x","version":1,"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}\n",
    "10 MB line": b'{"type":"' + b"x" * 10_000_000,
    "another version": b'{"type":"x","version":2,"requestId":"r1"}\n',
    "unknown type": b'{"type":"nobody.knows","version":1,"requestId":"r1"}\n',
    "wrong types": b'{"type":1,"version":"1"}\n',
    "lone surrogate": b'{"type":"\\ud800","version":1}\n',
    "zero bytes": b"\x00" * 100 + b"\n",
}
ERRORS = {INVOKE: "invoke.error", DM: "dm.error", HANDSHAKE: "handshake.error"}


@pytest.mark.parametrize("protocol", ERRORS, ids=["invoke", "dm", "handshake"])
@pytest.mark.parametrize("junk", NOT_FRAMES)
async def test_what_is_no_frame_is_refused_by_name(alice: Daemon, protocol: str, junk: str) -> None:
    with unharmed(alice):
        async with mallory(alice) as m:
            line = await m.open(alice, protocol)
            took_all = await line.write(NOT_FRAMES[junk])
            if took_all:
                await line.close_write()
            answers = await line.answers()
            if junk != "10 MB line":  # whoever sends on and on may see the reset instead of the answer
                assert [frame["type"] for frame in answers] == [ERRORS[protocol]], answers
                assert answers[0]["code"] in ("BAD_REQUEST", "TOO_LARGE")
                assert answers[0]["message"]


@pytest.mark.parametrize("protocol", ERRORS, ids=["invoke", "dm", "handshake"])
async def test_a_million_tiny_lines(alice: Daemon, protocol: str) -> None:
    with unharmed(alice):
        async with mallory(alice) as m:
            for tiny in (b"\n", b"1\n"):
                line = await m.open(alice, protocol)
                for _ in range(16):
                    if not await line.write(tiny * 65_536):
                        break
                await line.reset()


def chunks(*data: object, final: bool = True) -> list[dict[str, Any]]:
    return [CHUNK | {"seq": n, "data": d, "isFinalInput": final and n == len(data) - 1} for n, d in enumerate(data)]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([CHUNK], "BAD_REQUEST"),
        ([OPEN, OPEN], "BAD_REQUEST"),
        ([OPEN, CHUNK | {"requestId": "r2"}], "BAD_REQUEST"),
        ([OPEN | {"capability": "nobody-has-it"}], "NOT_FOUND"),
        ([OPEN | {"capability": "../../etc"}], "BAD_REQUEST"),
        ([OPEN | {"capability": "x" * 65}], "BAD_REQUEST"),
        ([OPEN | {"capability": "\U0001f600"}], "BAD_REQUEST"),
        ([OPEN | {"requestId": "\x1b[2J"}], "BAD_REQUEST"),
        ([OPEN | {"maxInputBytes": 10}, CHUNK | {"data": "x" * 11}], "INPUT_TOO_LARGE"),
        ([OPEN | {"maxOutputBytes": 2}, CHUNK | {"data": "xxx"}], "OUTPUT_TOO_LARGE"),
        ([OPEN | {"maxDurationMs": -1}], "BAD_REQUEST"),
        ([OPEN | {"maxInputBytes": 10**30}], "BAD_REQUEST"),
        ([OPEN, *chunks("a", "b", final=False), CHUNK | {"seq": 0}], "BAD_REQUEST"),
        ([OPEN | {"fromAgent": "12D3KooWPT98FXMfDQYavZm66EeVjTqP9Nnehn1gyaydqV8L8BQw"}], "BAD_REQUEST"),
        ([OPEN | {"metadata": "x" * 100_000}], "BAD_REQUEST"),
        ([{"type": "invoke.done", "version": 1, "requestId": "r1"}], "BAD_REQUEST"),
        ([OPEN, {"type": "invoke.event", "version": 1, "requestId": "r1", "seq": 0, "event": "x"}], "BAD_REQUEST"),
    ],
    ids=[
        "chunk before open", "second open", "another call's chunk", "unknown capability", "a path", "65 characters",
        "emoji", "escapes", "input past its limit", "output past its limit", "negative time", "a huge number",
        "seq goes back", "another agent without proof", "a large control frame", "done by the caller",
        "event by the caller",
    ],
)  # fmt: skip
async def test_calls_against_the_rules(alice: Daemon, frames: list[Any], code: str) -> None:
    async with mallory(alice) as m:
        line = await m.open(alice, INVOKE)
        await line.say(*frames)
        last = (await line.answers())[-1]
        assert last["type"] == "invoke.error", last
        assert last["code"] in (code, "FORBIDDEN"), last


@pytest.mark.parametrize("field", ["content", "data"])
async def test_text_that_has_no_utf8(alice: Daemon, field: str) -> None:
    """A lone surrogate is legal JSON, and no text."""
    async with mallory(alice) as m:
        if field == "content":
            line = await m.open(alice, DM)
            await line.write(json.dumps(MESSAGE).replace('"content": "x"', '"content": "\\ud800"').encode() + b"\n")
        else:
            line = await m.open(alice, INVOKE)
            await line.write(json.dumps(OPEN).encode() + b"\n")
            await line.write(json.dumps(CHUNK).replace('"data": "x"', '"data": "\\ud800"').encode() + b"\n")
        last = (await line.answers())[-1]
        assert last["code"] == "BAD_REQUEST", last


async def test_reset_in_every_state(alice: Daemon) -> None:
    states: dict[str, list[list[Any]]] = {
        INVOKE: [[], [OPEN], [OPEN, *chunks("a", final=False)], [OPEN, CHUNK]],
        DM: [[], [MESSAGE | {"messageId": "reset"}]],
        HANDSHAKE: [[], [INIT]],
    }
    with unharmed(alice):
        async with mallory(alice) as m:
            for protocol, lists in states.items():
                for frames in lists:
                    for half in (b"", b'{"type":'):
                        line = await m.open(alice, protocol)
                        await line.say(*frames)
                        if half:
                            await line.write(half)
                        await line.reset()
            # and none of them holds a slot: 64 more find room one after the other
            for _ in range(64):
                line = await m.open(alice, HANDSHAKE)
                await line.say(INIT | {"peerId": m.peer_id})
                assert (await line.answer())["type"] == "handshake.ack"
                await line.reset()
    stored = [row["messageId"] for row in alice.rpc("dm.list", peer=m.peer_id)["messages"]]
    assert stored.count("reset") <= 1


async def test_300_streams_of_one_peer(alice: Daemon, bob: Daemon) -> None:
    """Those over her share are reset; bob notices nothing."""
    alice.rpc("capability.serve", name="crowded", command={"argv": ["cat"], "cwd": "/"})
    with unharmed(alice, mebibytes=64):
        async with mallory(alice) as m:
            held: list[Any] = []
            refused = 0
            for _ in range(300):
                try:
                    line = await m.open(alice, INVOKE)
                    await line.say(OPEN | {"capability": "crowded", "maxDurationMs": 60_000})
                    held.append(line)
                except Exception:
                    refused += 1
            assert await trio.to_thread.run_sync(
                lambda: bob.rpc("dm.send", peer=alice.peer_id, content="through the crowd")["status"] == "stored"
            )
            done = await trio.to_thread.run_sync(lambda: bob.cli("invoke", alice.peer_id, "upper", "x"))
            assert done["output"] == "X"
            for line in held:
                await line.reset()
        poll(lambda: alice.rpc("capability.list")["capabilities"][0]["queueMs"] == 0, "the queue empty")
    alice.rpc("capability.unregister", name="crowded")


async def test_100_direct_messages_at_once_are_each_stored_once(alice: Daemon) -> None:
    acknowledged: set[str] = set()

    async def send(m: Mallory, number: int) -> None:
        for _ in range(20):
            try:
                line = await m.open(alice, DM)
                await line.say(MESSAGE | {"messageId": f"c{number}", "content": f"message {number}"})
                answer = await line.answer()
            except Exception:
                answer = None
            if answer and answer["type"] == "dm.ack":
                acknowledged.add(answer["messageId"])
                await line.close_write()
                return
            await trio.sleep(0.05)

    with unharmed(alice):
        async with mallory(alice, name="hundred") as m, trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(send, m, number)
    assert len(acknowledged) == 100
    stored = [row["messageId"] for row in alice.rpc("dm.list", peer=m.peer_id, limit=500)["messages"]]
    assert sorted(stored) == sorted(acknowledged)


def slow(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in daemon.rpc("capability.list")["capabilities"] if c["name"] == "slow")
    return found


async def test_input_that_is_small_as_json_and_large_as_objects(alice: Daemon) -> None:
    """A megabyte of empty lists takes 25 MB once decoded: what waits for a slow provider must count as it is."""
    alice.rpc("capability.serve", name="slow", maxConcurrent=1, command={"argv": ["sleep", "60"], "cwd": "/"})
    nest: list[list[int]] = [[]] * 300_000
    with unharmed(alice, mebibytes=64):
        async with mallory(alice) as m:
            lines = []
            for _ in range(5):
                line = await m.open(alice, INVOKE)
                await line.say(OPEN | {"capability": "slow", "maxInputBytes": 1 << 20, "maxDurationMs": 60_000})
                await line.say(CHUNK | {"data": nest})
                lines.append(line)
            await until(lambda: not slow(alice)["available"])  # one runs, four wait: no place is left
            for line in lines:
                await line.reset()
    alice.rpc("capability.unregister", name="slow")


async def test_a_caller_who_never_reads(alice: Daemon, tmp_path: Any) -> None:
    script = tmp_path / "flood.py"
    script.write_text("import sys\nwhile True: sys.stdout.write('x' * 65536)\n")
    alice.cli("capability", "serve", "flood", "--", "python3", str(script))
    with unharmed(alice):
        async with mallory(alice) as m:
            lines = [await m.open(alice, INVOKE) for _ in range(4)]
            for line in lines:
                await line.say(
                    OPEN | {"capability": "flood", "maxOutputBytes": 1 << 30, "maxDurationMs": 60_000}, CHUNK
                )
            await trio.sleep(2)
        await trio.to_thread.run_sync(
            lambda: poll(lambda: not running(str(script)), "the commands' end once the caller is gone")
        )
    alice.cli("capability", "remove", "flood")


def running(word: str) -> list[int]:
    """Processes with that word on their command line."""
    import psutil

    return [p.pid for p in psutil.process_iter(["cmdline"]) if word in (p.info["cmdline"] or [])]
