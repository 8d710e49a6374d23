"""The golden vectors of the socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nexusd_protocols.rpc.connection import Connection, Event, Invalid, Notification, Request

VECTORS = json.loads((Path(__file__).parents[4] / "protocols" / "vectors" / "rpc.json").read_text())


def described(event: Event) -> list[dict[str, Any]]:
    match event:
        case Request():
            members = {"id": event.id, "method": event.method, "params": json.loads(bytes(event.params))}
            return [{"request": members}]
        case Notification():
            params = json.loads(bytes(event.params))
            return [{"notification": {"method": event.method, "params": params, "size": event.size}}]
        case Invalid() if event.reply:
            reply = json.loads(event.reply)
            return [{"refused": {"id": reply["id"], "code": reply["error"]["data"]["code"]}}]
    return []


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    events = Connection().receive(b"".join(line.encode() + b"\n" for line in case["lines"]))
    assert [row for event in events for row in described(event)] == case["expect"]
