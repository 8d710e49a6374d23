"""Reads the golden vectors of stream protocols and says what a machine made of one, in the vectors' own terms."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from nexusd_protocols.errors import RemoteProtocolError
from tests.harness.vectors import cuts

WAYS: dict[str, Callable[[bytes], Iterable[list[bytes]]]] = {
    "whole": lambda data: [[data]],
    "byte by byte": lambda data: [[bytes([byte]) for byte in data]],
    "split anywhere": lambda data: ([data[:at], data[at:]] for at in cuts(data)),
}
"""How the bytes of a case come: for each way, the pieces of one run after the other."""


def stream(case: dict[str, Any]) -> bytes:
    """The bytes of a case."""
    if "base64" in case:
        return base64.b64decode(case["base64"])
    return "".join(line + "\n" for line in case["lines"]).encode()


def plain(event: Any) -> dict[str, Any]:
    """An event's fields; those of the frame it holds are its own."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    if "data" in fields and fields["data"] is msgspec.UNSET:
        del fields["data"]
        fields["ends_only"] = True
    opened = fields.pop("open", None)
    return {**(msgspec.to_builtins(opened) if opened is not None else {}), **msgspec.to_builtins(fields)}


def outcome(machine: Any, pieces: list[bytes], *, eof: bool) -> tuple[list[Any], RemoteProtocolError | None]:
    """The events that a machine gives for bytes that come in these pieces, and how it refused them."""
    events: list[Any] = []
    try:
        for piece in pieces:
            events += machine.receive(piece)
        if eof:
            events += machine.receive_eof()
    except RemoteProtocolError as error:
        return events, error
    return events, None


def check(case: dict[str, Any], events: list[Any], error: RemoteProtocolError | None) -> None:
    """Asserts that the outcome is what the case expects. Of events it names the fields that matter."""
    expect = case["expect"]
    if "refused" in expect:
        assert error is not None, events
        assert (error.code, error.penalty) == (expect["refused"], expect["penalty"]), error
        assert reply_word(error.reply) == expect["reply"]
        return
    assert error is None, error
    assert [type(event).__name__ for event in events] == [name for name, _ in expect["events"]]
    for event, (_, fields) in zip(events, expect["events"], strict=True):
        got = plain(event)
        for key, value in fields.items():
            assert _within(value, got[key]), (key, value, got[key])


def check_pieces(case: dict[str, Any], machine: Callable[[dict[str, Any]], Any], way: str) -> None:
    """Asserts that a machine, a new one for each run, makes of a case what it expects however its bytes come."""
    for pieces in WAYS[way](stream(case)):
        check(case, *outcome(machine(case), pieces, eof=case.get("eof", False)))


def check_silence(case: dict[str, Any], machine: Any) -> None:
    """Asserts that a machine says nothing more behind what it refused."""
    outcome(machine, [stream(case)], eof=case.get("eof", False))
    assert machine.receive(stream(case)) == []
    assert machine.receive_eof() == []


def reply_word(reply: bytes) -> str | None:
    """The code of the error frame in a reply, `cancel` for an invoke.cancel, None for no reply."""
    if not reply:
        return None
    assert reply.endswith(b"\n")
    assert reply.count(b"\n") == 1
    frame = json.loads(reply)
    assert frame["version"] == 1
    return "cancel" if frame["type"] == "invoke.cancel" else frame["code"]


def _within(expected: Any, got: Any) -> bool:
    """Whether `got` is what is expected; an object may have further fields."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return all(key in got and _within(value, got[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(got, list | tuple):
        return len(expected) == len(got) and all(map(_within, expected, got))
    return bool(expected == got)
