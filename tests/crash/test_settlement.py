"""kill -9 of a provider at random steps while it settles on a real chain, some payments alone and some together: every
payment once, and ledger = chain."""

from __future__ import annotations

import collections
import json
import os
import random
import sys
from pathlib import Path

import pytest
import trio

from nexusd.chain import eip3009
from nexusd.store.store import Store
from nexusd_protocols.payments.charge import State
from tests.crash import settler
from tests.harness import chains
from tests.harness.anvil import Anvil
from tests.harness.localchain import ETHER
from tests.harness.settling import GAS, PAYEE, owed_by, payer
from tests.harness.soundness import faults

HOURS = 10


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("payments", "kills"), [(30, 12), pytest.param(300, 150, marks=pytest.mark.soak)], ids=["few", "many"]
)
async def test_each_payment_is_settled_once_however_often_the_provider_dies(
    tmp_path: Path, payments: int, kills: int
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    with chains.some(tmp_path, block_s=0.25) as process:
        if isinstance(process, Anvil):
            process.put_multicall3()
        process.fund(GAS.address, 100 * ETHER)
        for number in range(settler.PAYERS):
            process.mint(payer(number).address, 10**9)
        options = {
            "path": str(tmp_path / "store"),
            "url": process.url,
            "seed": seed,
            "payments": payments,
            "kills": kills,
            "steps": 10
            * payments
            // kills,  # lives take half of it, and a payment eight: all deaths come before the end
            "until": process.time + HOURS * 3600,
        }
        argv = [sys.executable, "-m", "tests.crash.settler", json.dumps(options)]
        done = await trio.run_process(
            argv, capture_stdout=True, capture_stderr=True, check=False, env=os.environ | {"PYTHONPATH": "."}
        )
        assert done.returncode == 0, done.stderr.decode()[-4000:]
        deaths = json.loads(done.stdout.splitlines()[-1])  # above it is the log
        print(deaths)
        assert sum(deaths.values()) == kills
        numbers = [number for number in range(1, payments + 1) if not settler.fails(number)]
        logs = process.logs(eip3009.USED)
        assert sorted(int(each["topics"][2], 16) for each in logs) == numbers
        assert process.balance(PAYEE) == sum(map(settler.amount_of, numbers))
        async with Store.open(tmp_path / "store") as store:
            assert await faults(store) == []
            transactions = {int(each["topics"][2], 16): each["transactionHash"] for each in logs}
            for number in range(1, payments + 1):
                row = await store.ledger.row(owed_by(payer(number % settler.PAYERS), number, until=0).key)
                assert row is not None
                if settler.fails(number):
                    assert (row.state, row.reason) == (State.RELEASED, "failed")
                else:
                    assert (row.state, row.transaction) == (State.SETTLED, transactions[number])
        shared = collections.Counter(transactions.values())
        print(f"{process.nonce(GAS.address)} transactions for {len(numbers)} payments: {sorted(shared.values())}")
        assert not isinstance(process, Anvil) or max(shared.values()) > 1
