"""`make demo`: two daemons on this machine find each other, talk in a room, privately, and call a capability.

Everything shown is what a person would type. Data goes to a temporary directory, traffic stays on loopback.
"""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
FOUND_S = 15.0
SETTLE_S = 15.0

COUNT = """\
import json, sys, time
for number in range(1, json.load(sys.stdin)["to"] + 1):
    print(json.dumps(number), flush=True)
    time.sleep(0.2)
"""


class Demo:
    """Types commands and shows what they print."""

    def __init__(self, home: Path) -> None:
        self._env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("NEXUS_")},
            "XDG_DATA_HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "COLUMNS": "100",
            "TERM": "dumb",
        }

    def say(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def type(self, line: str, *, cwd: Path | None = None) -> None:
        """Run a command in a terminal of its own, and show what it shows."""
        print(f"  $ {line}", flush=True)
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            self._argv(line), env=self._env, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs
        ) as run:
            os.close(theirs)
            with os.fdopen(ours, errors="replace") as terminal:
                try:
                    for text in terminal:
                        print(f"    {text.rstrip()}", flush=True)
                except OSError:
                    pass  # Linux says so when the last writer is gone
        if run.returncode != 0:
            raise SystemExit(f"demo: `{line}` ended with exit code {run.returncode}")

    def ask(self, line: str) -> Any:
        """Run a command and give its data, unseen."""
        done = subprocess.run(
            self._argv(f"{line} --json"), env=self._env, capture_output=True, text=True, timeout=60, check=False
        )
        answer = json.loads(done.stdout)
        if not answer["ok"]:
            raise SystemExit(f"demo: `{line}`: {answer['error']['message']}")
        return answer["data"]

    def _argv(self, line: str) -> list[str]:
        program, *arguments = shlex.split(line)
        return [str(BIN / program), *arguments]

    def until(self, what: str, condition: Any, seconds: float) -> bool:
        """Whether something came true in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def stop(self, name: str) -> None:
        """Stop a daemon, if it runs."""
        subprocess.run(
            self._argv(f"nexus --name {name} stop"), env=self._env, capture_output=True, timeout=60, check=False
        )

    def connected(self) -> bool:
        return self.ask("nexus --name alice status")["peersConnected"] > 0


def main() -> None:
    """Show it, and stop what was started."""
    # a short path: a Unix socket's has at most 100 bytes or so
    with tempfile.TemporaryDirectory(prefix="nexus-demo-") as text:
        home = Path(text)
        demo = Demo(home)
        try:
            show(demo, home)
        finally:
            for name in ("alice", "bob"):
                if (home / "nexusd" / name).exists():
                    demo.stop(name)
    print("\nThat was it. Next: docs/tutorial/first-mesh.md", flush=True)


def show(demo: Demo, home: Path) -> None:
    """The story."""
    demo.say("Two daemons on this machine, one for each agent:")
    demo.type("nexusd run --name alice --loopback --detach")
    demo.type("nexusd run --name bob --loopback --detach")

    demo.say("They find each other by multicast DNS; no server is involved:")
    if not demo.until("find", demo.connected, FOUND_S):
        print("    Multicast does not work on this machine: falling back to --bootstrap", flush=True)
        address = demo.ask("nexus --name alice status")["addresses"][0]
        demo.type("nexus --name bob stop")
        demo.type(f"nexusd run --name bob --loopback --detach --bootstrap {address}")
        if not demo.until("connect", demo.connected, FOUND_S):
            raise SystemExit("demo: the two daemons do not connect; see their logs under " + str(home))
    alice = demo.ask("nexus --name alice status")["peerId"]
    demo.type("nexus --name bob peers")

    demo.say("A room:")
    demo.type("nexus --name alice profile set --display-name alice")
    demo.type("nexus --name alice room join general")
    demo.type("nexus --name bob room join general")

    def both_there() -> bool:
        members = demo.ask("nexus --name alice room members general")["members"]
        return len([member for member in members if member["status"] == "online"]) > 1

    demo.until("members", both_there, SETTLE_S)
    demo.type('nexus --name alice room send general "hello from alice"')
    demo.until("arrival", lambda: bool(demo.ask("nexus --name bob room history general")["messages"]), SETTLE_S)
    demo.type("nexus --name bob room history general")

    demo.say("A direct message, stored by the receiver before it is called stored:")
    demo.type(f'nexus --name bob dm send {alice} "just us"')
    demo.type("nexus --name alice dm list")

    demo.say("Capabilities: any command, called over the mesh, unary or streaming:")
    (home / "count.py").write_text(COUNT)
    demo.type("nexus --name alice capability serve upper -- tr a-z A-Z")
    demo.type("nexus --name alice capability serve count --jsonl -- python3 count.py", cwd=home)
    demo.type(f"nexus --name bob capability list {alice}")
    demo.type(f'nexus --name bob invoke {alice} upper "make me loud"')
    demo.type(f"nexus --name bob invoke {alice} count '{{\"to\": 5}}' --stream")

    demo.say("And they stop, draining what is under way:")
    demo.type("nexus --name alice stop")
    demo.type("nexus --name bob stop")


if __name__ == "__main__":
    main()
