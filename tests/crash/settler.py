"""A provider that is killed again and again while it settles. Runs as a process of its own:

    python -m tests.crash.settler '{"path":…, "url":…, "seed":…, "payments":…, "kills":…, "until":…}'

Each life is a fork, so that imports are paid for once. It dies by SIGKILL before or behind one of its own steps, of the
ledger or of the chain, chosen by chance; when there were as many deaths as were asked for, the last life ends once
nothing is owed any more. Prints how often it died, and where.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import trio
import web3.providers.base  # noqa: F401  imported once, not in each life

from nexusd.chain.evm import EvmChain
from nexusd.chain.settlement import Policy, Settlement
from nexusd.clock import now_ms
from nexusd.store.store import Store
from nexusd_protocols.payments import tokens
from nexusd_protocols.payments.charge import Result, State
from nexusd_protocols.payments.tokens import Tokens
from tests.harness.settling import GAS, OPEN, WIDE, owed_by, payer

PAYERS = 3
FAILING = 0.15


class Mortal:
    """Another object, before or behind one of whose steps everything ends."""

    def __init__(self, inner: Any, life: Life, steps: frozenset[str]) -> None:
        self._inner = inner
        self._life = life
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._steps:
            return found

        async def step(*args: Any, **options: Any) -> Any:
            self._life.maybe_end(f"before {name}")
            answer = await found(*args, **options)
            self._life.maybe_end(f"after {name}")
            return answer

        return step


class Life:
    """Ends at a step that was chosen by chance."""

    def __init__(self, left: int | None, report: int) -> None:
        self._left = left
        self._report = report

    def maybe_end(self, where: str) -> None:
        if self._left is None:
            return
        self._left -= 1
        if self._left <= 0:
            os.write(self._report, where.encode())
            os.kill(os.getpid(), signal.SIGKILL)


LEDGER = frozenset({"reserve", "due", "release", "submitted", "settled", "lost", "reopened", "postpone"})
CHAIN = frozenset({"survey", "send", "evidence"})


async def live(options: dict[str, Any], life: Life, chance: random.Random) -> None:
    """One life: make what is owed so far as it goes, and settle."""
    chain = EvmChain(8453, options["url"], tokens.KNOWN)
    async with Store.open(Path(options["path"])) as store:
        await store.ledger.recover(now_ms())
        ledger = Mortal(store.ledger, life, LEDGER)
        settlement = Settlement(
            Mortal(chain, life, CHAIN), ledger, Tokens(), account=GAS, policy=Policy(max_fee=10**12, batch_least=2)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(settlement.run)
            await owe(store.ledger, ledger, settlement, options, chance)
            while not await all_over(store.ledger, options):
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
    chain.close()


async def owe(rows: Any, ledger: Any, settlement: Settlement, options: dict[str, Any], chance: random.Random) -> None:
    """Work on each payment that was not delivered yet; some of it fails."""
    for number in range(1, options["payments"] + 1):
        one = owed_by(payer(number % PAYERS), number, until=options["until"], amount=amount_of(number))
        known = await rows.row(one.key)
        if known is not None and (known.state is not State.RELEASED or known.reason == "failed"):
            continue
        await ledger.reserve(one, now=1, balance=None, exposure=WIDE)
        if fails(number):
            await ledger.release(one.key, "failed", now_ms())
            continue
        result = Result(digest=bytes(32), size=4, data=b"done")
        await ledger.due(one.key, amount=one.amount, result=result, receipt=b"", now=now_ms())
        settlement.wake()
        if chance.random() < 0.5:
            await trio.sleep(chance.random() * 0.05)


def amount_of(number: int) -> int:
    return 1000 + number


def fails(number: int) -> bool:
    return random.Random(number).random() < FAILING


async def all_over(rows: Any, options: dict[str, Any]) -> bool:
    for number in range(1, options["payments"] + 1):
        one = owed_by(payer(number % PAYERS), number, until=options["until"], amount=amount_of(number))
        row = await rows.row(one.key)
        if row is None or row.state in OPEN:
            return False
    return True


def main() -> None:
    options = json.loads(sys.argv[1])
    chance = random.Random(options["seed"])
    deaths: collections.Counter[str] = collections.Counter()
    while True:
        left = chance.randint(1, options["steps"]) if deaths.total() < options["kills"] else None
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            trio.run(live, options, Life(left, writing), random.Random(chance.random()))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as report:
            where = report.read().decode()
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            break
        if not os.WIFSIGNALED(status) or not where:
            raise SystemExit(f"a life ended with status {status} {where}")
        deaths[where] += 1
    print(json.dumps(deaths))


if __name__ == "__main__":
    main()
