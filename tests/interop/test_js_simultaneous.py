"""A js-libp2p peer that dials us while we dial it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.js import JsPeer
from tests.harness.process import poll
from tests.interop.conftest import share_room


def test_both_dial_at_once(alice: Daemon, tmp_path: Path) -> None:
    for turn, transport in enumerate(("tcp", "websocket", "tcp")):
        with JsPeer(f"dave{turn}", tmp_path) as dave, ThreadPoolExecutor(2) as pool:
            ours = pool.submit(alice.cli, "connect", getattr(dave, transport))
            theirs = pool.submit(dave.call, "dial", address=getattr(alice, transport))
            theirs.result(30)
            assert ours.result(30)["peerId"] == dave.peer_id
            room = f"at-once-{turn}"
            share_room(alice, dave, room)
            until = time.monotonic() + 8  # a spare connection goes after three quiet seconds
            while time.monotonic() < until:
                assert dave.peer_id in alice.connected()
                assert dave.call("ping", peer=alice.peer_id)["ms"] < 5000
                said = alice.cli("dm", "send", dave.peer_id, "still there?")
                dave.event("dm", lambda e, said=said: e["frame"]["messageId"] == said["messageId"])
                assert dave.call("dm", peer=alice.peer_id, content="yes")["lines"]
                sent = alice.rpc("room.send", room=room, content="hello")["messageId"]
                dave.event("pubsub", lambda e, sent=sent: sent in e["text"])
            mine = dave.call("publish", room=room, content="bye")["message"]["id"]
            poll(
                lambda room=room, mine=mine: (
                    mine in [m["messageId"] for m in alice.rpc("room.history", room=room)["messages"]]
                ),
                "dave's message",
            )
