"""Two daemons of which one sells and the other buys, under a load of paid calls, while either is killed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from eth_account import Account as Keystores

from nexusd.client import Nexus, NexusError
from nexusd.services.payments.wallet import FILE
from nexusd_protocols.payments.authorization import Account
from tests.harness.daemon import Daemon, Home
from tests.harness.process import poll

PASSWORD: Final = "correct horse battery staple"
PRICE: Final = 10_000
"""0.01 USDC."""
FAILS: Final = 5
"""Each fifth call fails."""
BUYERS: Final = 4
TRIES: Final = 200
FAILED: Final = "COMMAND_FAILED"
UNSIGNED: Final = "Nothing was signed"
DURATION_MS: Final = 60_000

WORK: Final = """
n=$(cat); echo "$n" >> {worked}; sleep 0.0$((n % 7))
if [ $((n % %d)) -eq 0 ]; then echo '"half"'; exit 3; fi
""".replace("%d", str(FAILS))
WHOLE: Final = WORK + 'echo "\\"done $n $(date +%s%N)\\""'
PIECES: Final = WORK.replace("""echo '"half"'; """, "") + 'echo "\\"$n\\""; sleep 0.02; echo "\\"$(date +%s%N)\\""'


def keep_wallet(home: Home, name: str, account: Account) -> None:
    """A keystore whose password costs next to nothing, since it is opened at each start."""
    directory = home.data_dir(name)
    directory.mkdir(parents=True, mode=0o700)
    path = directory / FILE
    path.write_text(json.dumps(Keystores.encrypt(account.secret(), PASSWORD, kdf="pbkdf2", iterations=1000)))
    path.chmod(0o600)


@dataclass
class Task:
    """Something that bob wants done, and what he has of it."""

    number: int
    stream: bool
    id: str = ""
    """Of the call, and what pays for it: chosen before anything is asked for, so that it is known after a crash."""
    result: list[str] | None = None
    failed: bool = False
    tries: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    """Words of what went wrong on the way."""

    @property
    def fails(self) -> bool:
        return self.number % FAILS == 0

    @property
    def capability(self) -> str:
        return "pieces" if self.stream else "whole"


class Load:
    """Calls of bob to alice, each asked for until it is done or has failed. `up` is clear while he is down."""

    def __init__(self, alice: Daemon, bob: Daemon, calls: int, choose: Random) -> None:
        self.tasks = [Task(number, choose.random() < 0.4) for number in range(1, calls + 1)]
        self.done = 0
        self.up = threading.Event()
        self.up.set()
        self.errors: list[BaseException] = []
        self._alice, self._bob = alice.peer_id, bob
        self._todo = iter(self.tasks)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(BUYERS)]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        yield
        for thread in self._threads:
            thread.join(240)
            assert not thread.is_alive(), [task for task in self.tasks if task.result is None and not task.failed]
        self.check()

    def check(self) -> None:
        assert not self.errors, self.errors

    def wait_done(self, number: int) -> None:
        """Until so many are."""
        poll(lambda: self.errors or self.done >= number, f"{number} calls done", timeout=120, every=0.005)
        self.check()

    def _run(self) -> None:
        try:
            while True:
                with self._lock:
                    task = next(self._todo, None)
                if task is None:
                    return
                self.see_through(task)
                with self._lock:
                    self.done += 1
        except BaseException as error:
            self.errors.append(error)

    def see_through(self, task: Task) -> None:
        """Ask for it, and again, until somebody says what became of it."""
        round_ = 0
        while task.result is None and not task.failed:
            task.tries += 1
            assert task.tries < TRIES, task
            assert self.up.wait(60), "bob did not come back"
            task.id = f"call-{task.number}-{round_}"
            try:
                task.result = self.ask(task)
            except NexusError as error:
                word = str((error.data or {}).get("remoteCode", "")) or error.code
                task.failed = word == FAILED
                if UNSIGNED in str(error):
                    round_ += 1
                elif not task.failed:
                    task.broken[word] = task.broken.get(word, 0) + 1
                    time.sleep(0.1)

    def ask(self, task: Task) -> list[str]:
        """Raises NexusError."""
        with Nexus.connect(data_dir=self._bob.data_dir, timeout=90) as nexus:
            call = nexus.stream(
                self._alice,
                task.capability,
                str(task.number),
                stream=task.stream,
                max_price="0.01",
                id=task.id,
                max_duration_ms=DURATION_MS,
            )
            with call:
                found = [str(event.data) for event in call]
        assert call.end is not None
        assert call.end.payment is not None
        assert (call.end.payment.state, call.end.payment.id) == ("paid", task.id)
        assert call.end.payment.receipt == "verified", call.end.payment
        return found


def serve(alice: Daemon, worked: Path) -> None:
    for name, script, options in (("whole", WHOLE, ()), ("pieces", PIECES, ("--jsonl",))):
        command = script.replace("{worked}", str(worked))
        alice.cli("capability", "serve", name, "--price", "0.01", *options, "--", "sh", "-c", command)
