"""Settlement over a chain on which everything goes wrong by chance: in the end the books say what the chain says."""

from __future__ import annotations

import os
import random
from itertools import islice

import pytest

from nexusd.chain.settlement import Policy, Settlement
from nexusd.chain.settlement import settlement as settlement_module
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.charge import Charge, Reservation, State
from nexusd_protocols.payments.tokens import Token, Tokens
from tests.harness.fakechain import FakeChain, read_calls
from tests.harness.settling import GAS, OPEN, PAYEE, Provider, owed_by, payer, provider
from tests.harness.soundness import faults

START_S = 1_800_000_000
QUICK = 1
SEEDS = int(os.environ.get("NEXUS_SETTLEMENT_SEEDS", "12"))


class World:
    """Two providers with one account that pays gas, who restart now and then; payers who pay, cancel and drain."""

    def __init__(self, seed: int, providers: list[Provider], chain: FakeChain) -> None:
        self.chance = random.Random(seed)
        self.chain = chain
        self.providers = providers
        self.ones: dict[str, tuple[int, Reservation]] = {}
        """By key: whose, and what was signed."""
        self.now_ms = START_S * 1000
        self.restart()

    def restart(self) -> None:
        """What was remembered is gone."""
        self.settlements = [
            Settlement(
                self.chain,
                each.ledger,
                Tokens(),
                account=GAS,
                policy=Policy(max_fee=10**9, large=5_000, batch_least=self.chance.choice([2, 5, 1000])),
                clock=lambda: self.now_ms,
                changed=lambda key, state: self.told.append((key, state)),
            )
            for each in self.providers
        ]
        self.told: list[tuple[str, State]] = []

    async def owe(self, number: int) -> None:
        index = self.chance.randrange(len(self.providers))
        until = self.chain.time_s + self.chance.choice([20, 60, 400, 4000])
        amount = self.chance.choice([100, 1000, 10_000])
        one = owed_by(payer(self.chance.randrange(4)), number, until=until, amount=amount)
        self.ones[one.key] = (index, one)
        await self.providers[index].owe(one)

    async def step(self) -> None:
        chance, chain = self.chance, self.chain
        await self.settlements[chance.randrange(2)].look()
        self.now_ms += chance.choice([100, 1000, 5000])
        luck = chance.random()
        if luck < 0.5:
            foreign = []
            if self.ones and chance.random() < 0.1:
                _, one = chance.choice(list(self.ones.values()))
                foreign.append((chance.choice(["pay", "cancel"]), one.authorization))
            chain.mine(foreign)
        elif luck < 0.53:
            chain.undo(min(len(chain.blocks) - 1, chance.randrange(1, 4)))
        elif luck < 0.56:
            chain.forget()
        elif luck < 0.6:
            chain.base_fee = chance.choice([50, 100, 400, 3000])
        elif luck < 0.63:
            self.restart()

    async def calm(self) -> None:
        """Nothing goes wrong any more, and time passes until all is over."""
        self.chain.faulty = False
        for _ in range(4000):
            for settlement in self.settlements:
                await settlement.look()
            self.now_ms += 2000
            self.chain.mine()
            if not any(row.state in OPEN for row in await self.rows()):
                break
        for _ in range(100):  # until nothing can be undone
            self.chain.mine()
        for settlement, each in zip(self.settlements, self.providers, strict=True):
            while await each.ledger.unsure(self.chain.network, 1):
                await settlement.look()

    async def rows(self) -> list[Charge]:
        return [await self.providers[index].row(key) for key, (index, _) in self.ones.items()]


@pytest.mark.parametrize(
    "seed", [seed if seed < QUICK else pytest.param(seed, marks=pytest.mark.slow) for seed in range(SEEDS)]
)
async def test_books_and_chain_agree_in_the_end(tmp_path, seed: int):
    print(f"seed {seed}")
    chain = FakeChain(random.Random(seed), START_S, {payer(number).address: 60_000 for number in range(4)})
    async with provider(tmp_path / "one", chain) as bob, provider(tmp_path / "two", chain) as carol:
        for one in (bob, carol):
            one.now = lambda: START_S * 1000
        world = World(seed, [bob, carol], chain)
        numbers = iter(range(1, 33))
        while burst := list(islice(numbers, world.chance.choice([1, 2, 8]))):
            for number in burst:
                await world.owe(number)
            for _ in range(3 * len(burst) + 2):
                await world.step()
        await world.calm()
        states = []
        for row in await world.rows():
            end = chain.state.ends.get((row.entry.authorization.from_, row.entry.authorization.nonce))
            paid = end is not None and end[2] == row.entry.amount
            assert row.state is (State.SETTLED if paid else State.LOST), (row, end)
            if paid:
                assert (row.transaction, row.block) == end[:2]
            states.append(row.state)
        shared = [size for transaction in chain.offered if (size := len(read_calls(transaction.raw))) > 1]
        print({state: states.count(state) for state in set(states)}, len(chain.offered), shared)
        assert states.count(State.SETTLED) > 5
        settled = sum(row.entry.amount for row in await world.rows() if row.state is State.SETTLED)
        assert chain.state.balances[PAYEE] == settled
        assert await faults(bob.store) == await faults(carol.store) == []


async def test_what_is_on_its_way_keeps_its_place_though_others_end_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(settlement_module, "CHARGES", 16)  # as for a node that does not get through with more
    chain = FakeChain(random.Random(1), START_S, {payer().address: 10**9})
    chain.faulty = False
    async with provider(tmp_path / "store.sqlite", chain, policy=Policy(max_fee=10**9)) as bob:
        bob.clock_off_ms = START_S * 1000 - bob.now()
        bob.settlement._charges = 16
        chain.mine()
        for first, until in ((1, START_S + 4000), (101, START_S + 400)):
            for number in range(first, first + 16):
                await bob.owe(owed_by(payer(), number, until=until, amount=100))
            await bob.settlement.look()
        for _ in range(8):
            chain.mine()
            bob.clock_off_ms += 5000
            await bob.settlement.look()
        made = {each.hash: each for each in chain.offered}.values()  # some may be sent again
        assert [each.account_nonce for each in made] == [0, 1, 2, 3]
        assert [len(read_calls(each.raw)) for each in made] == [8] * 4


@pytest.mark.parametrize("by_stranger", [True, False])
async def test_what_is_settled_and_may_be_undone_makes_no_look_a_busy_one(tmp_path, monkeypatch, by_stranger: bool):
    chain = FakeChain(random.Random(1), START_S, {payer().address: 10**9})
    chain.faulty = False
    inquiries: list[Authorization] = []
    evidence = chain.evidence

    async def asked(token: Token, authorization: Authorization, **rest):
        inquiries.append(authorization)
        return await evidence(token, authorization, **rest)

    monkeypatch.setattr(chain, "evidence", asked)
    async with provider(tmp_path / "store.sqlite", chain, policy=Policy(max_fee=10**9)) as bob:
        bob.clock_off_ms = START_S * 1000 - bob.now()
        one = owed_by(payer(), 1, until=START_S + 4000)
        if by_stranger:
            chain.mine([("pay", one.authorization)])
        key = await bob.owe(one)
        while (await bob.row(key)).state in OPEN:
            assert await bob.settlement.look()
            chain.mine()
        inquiries.clear()
        assert [await bob.settlement.look() for _ in range(5)] == [False] * 5
        assert inquiries == []
        for _ in range(100):
            chain.mine()
        assert not await bob.settlement.look()
        assert len(inquiries) == by_stranger
        assert not await bob.ledger.unsure(chain.network, 1)
        assert (await bob.row(key)).state is State.SETTLED


async def test_an_inquiry_that_changed_nothing_is_no_reason_to_look_again_at_once(tmp_path):
    chain = FakeChain(random.Random(1), START_S, {payer().address: 10**9})
    chain.faulty = False
    async with provider(tmp_path / "store.sqlite", chain, policy=Policy(max_fee=10**9, large=1)) as bob:
        bob.clock_off_ms = START_S * 1000 - bob.now()
        one = owed_by(payer(), 1, until=START_S + 4000)
        chain.mine([("pay", one.authorization)])
        await bob.owe(one)
        assert not await bob.settlement.look()
