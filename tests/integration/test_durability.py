"""kill -9 while direct messages come in: what was acknowledged is there, once."""

from __future__ import annotations

import queue
import threading
from typing import Any

from nexusd.client import Nexus, NexusError
from nexusd_protocols.rpc.schema import DmSendParams
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.process import poll

MESSAGES = 1000
SENDERS = 8
KILLS_AT = (150, 420, 700)
"""How many acknowledgements before each kill."""


def test_no_acknowledged_direct_message_is_lost(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave, Daemon("erin", own_home) as erin:
        connect(erin, dave)
        acknowledged: dict[str, str] = {}
        failed: list[str] = []
        lock = threading.Lock()
        work: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(MESSAGES):
            work.put(number)

        def send() -> None:
            with Nexus.connect(data_dir=erin.data_dir) as nexus:
                while True:
                    try:
                        number = work.get_nowait()
                    except queue.Empty:
                        return
                    content = f"message {number}"
                    try:
                        sent: Any = nexus.call("dm.send", DmSendParams(peer=dave.peer_id, content=content))
                    except NexusError as error:
                        with lock:
                            failed.append(error.code)
                        continue
                    if sent.status == "stored":
                        with lock:
                            acknowledged[sent.message_id] = content

        peer = dave.peer_id
        assert peer
        senders = [threading.Thread(target=send, name=f"sender {n}") for n in range(SENDERS)]
        for sender in senders:
            sender.start()
        try:
            for at in KILLS_AT:
                poll(lambda n=at: len(acknowledged) >= n or work.empty(), f"{at} acknowledgements", timeout=60)
                dave.kill9()
                dave.start()
        finally:
            for sender in senders:
                sender.join(100)
        assert not any(sender.is_alive() for sender in senders)
        # the kills hit a stream of messages, not the silence before or behind it
        assert len(acknowledged) >= KILLS_AT[-1], (len(acknowledged), failed)
        dave.restart()
        rows = inbox(dave)
        ids = [row["messageId"] for row in rows]
        assert len(ids) == len(set(ids)), "none twice"
        stored = {row["messageId"]: row["content"] for row in rows}
        assert {key: stored.get(key) for key in acknowledged} == acknowledged


def inbox(daemon: Daemon) -> list[dict[str, Any]]:
    """All that came in, page by page."""
    rows: list[dict[str, Any]] = []
    after = 0
    while True:
        page = daemon.cli("dm", "list", "--after", str(after), "--limit", "500")
        rows += [row for row in page["messages"] if row["direction"] == "in"]
        if not page["more"]:
            return rows
        after = page["last"]
