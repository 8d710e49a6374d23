"""Every typed method builds what the schema says."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import pytest

from nexusd.client import asks
from nexusd_protocols.rpc import schema

BUILT: dict[str, Any] = {
    "node.status": asks.status(),
    "node.shutdown": asks.shutdown(),
    "config.show": asks.config(),
    "rpc.discover": asks.discover(),
    "peers.list": asks.peers_list(connected=True),
    "peers.connect": asks.peers_connect("/ip4/127.0.0.1/tcp/1/p2p/x"),
    "peers.block": asks.peers_block("x", "spam"),
    "peers.unblock": asks.peers_unblock("x"),
    "peers.ban": asks.peers_ban("x", 60_000, "spam"),
    "peers.unban": asks.peers_unban("x"),
    "profile.get": asks.profile_get(),
    "profile.set": asks.profile_set(display_name="al", agent_type="tool"),
    "room.join": asks.room_join("r"),
    "room.leave": asks.room_leave("r"),
    "room.list": asks.room_list(),
    "room.send": asks.room_send("r", "hi", reply_to="m", references=("a", "b")),
    "room.history": asks.room_history("r", after=3, limit=5),
    "room.members": asks.room_members("r"),
    "dm.send": asks.dm_send("x", "hi", format="text/markdown"),
    "dm.list": asks.dm_list("x", before=9),
    "capability.list": asks.capability_list("x"),
    "capability.unregister": asks.capability_remove("c"),
    "capability.serve": asks.capability_command("c", ["tr", "a", "b"], cwd="/", jsonl=True),
}


def test_all_are_tried_here() -> None:
    functions = [name for name, one in inspect.getmembers(asks, inspect.isfunction) if one.__module__ == asks.__name__]
    assert len(functions) == len(BUILT)


@pytest.mark.parametrize("method", BUILT)
def test_the_request_fits_the_schema(method: str) -> None:
    ask, row = BUILT[method], schema.METHODS[method]
    assert (ask.method, type(ask.params), ask.result) == (method, row.params, row.result)
    assert msgspec.json.decode(msgspec.json.encode(ask.params), type=row.params) == ask.params


def test_what_is_given_is_sent() -> None:
    send = BUILT["room.send"].params
    assert (send.room, send.content, send.reply_to, send.references) == ("r", "hi", "m", ["a", "b"])
    assert BUILT["capability.serve"].params.command.jsonl
