"""kill -9 while direct messages come in: what was acknowledged is there, once."""

from __future__ import annotations

import queue
import threading
from typing import Any

from nexusd.client import Nexus, NexusError
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.process import poll

MESSAGES = 1000
SENDERS = 8
KILLS_AT = (150, 420, 700)
"""How many acknowledgements before each kill."""


class Senders:
    """Threads that send numbered messages until each of them was acknowledged. `up` is clear while the receiver is
    known to be down: what failed then is sent again once it is back."""

    def __init__(self, sender: Daemon, receiver: str) -> None:
        self.acknowledged: dict[str, str] = {}
        self.errors: list[BaseException] = []
        self.up = threading.Event()
        self.up.set()
        self._sender, self._receiver = sender, receiver
        self._left: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(MESSAGES):
            self._left.put(number)
        self._threads = [threading.Thread(target=self._run, name=f"sender {n}", daemon=True) for n in range(SENDERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} hangs; {len(self.acknowledged)} acknowledged"
        assert not self.errors, self.errors

    def _run(self) -> None:
        try:
            with Nexus.connect(data_dir=self._sender.data_dir, timeout=40) as nexus:
                while True:
                    try:
                        number = self._left.get_nowait()
                    except queue.Empty:
                        return
                    if not self._send(nexus, f"message {number}"):
                        self._left.put(number)
                        assert self.up.wait(40), "the receiver did not come back"
        except BaseException as error:
            self.errors.append(error)

    def _send(self, nexus: Nexus, content: str) -> bool:
        try:
            sent = nexus.inbox.send(self._receiver, content)
        except NexusError as error:
            if error.code not in ("unreachable", "connection_lost"):
                raise
            return False
        if sent.status == "stored":
            self.acknowledged[sent.message_id] = content
        return sent.status == "stored"


def test_no_acknowledged_direct_message_is_lost(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave, Daemon("erin", own_home) as erin:
        connect(erin, dave)
        senders = Senders(erin, dave.peer_id)
        senders.start()
        for at in KILLS_AT:
            poll(
                lambda n=at: senders.errors or len(senders.acknowledged) >= n,
                f"{at} acknowledgements",
                timeout=60,
                every=0.01,
            )
            senders.up.clear()
            dave.kill9()
            dave.start()
            senders.up.set()
        senders.join()
        # one acknowledgement more for each message whose own got lost in a kill, after it had been stored
        assert sorted(set(senders.acknowledged.values())) == sorted(f"message {n}" for n in range(MESSAGES))
        dave.restart()
        rows = inbox(dave)
        ids = [row["messageId"] for row in rows]
        assert len(ids) == len(set(ids)), "none twice"
        stored = {row["messageId"]: row["content"] for row in rows}
        assert {key: stored.get(key) for key in senders.acknowledged} == senders.acknowledged


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
