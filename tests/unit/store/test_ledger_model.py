"""The ledger on disk does what the rules say: any steps in any order leave what they leave in memory."""

from dataclasses import astuple, replace
from random import Random

import pytest

from nexusd.store.ledger.charge_rows import Sums, parts_of
from nexusd_protocols.payments import charge as rules
from nexusd_protocols.payments.charge import (
    LIVE,
    Charge,
    ChargeStateError,
    Exposure,
    Owing,
    Refused,
    Reserved,
    Result,
    State,
)
from nexusd_protocols.payments.transaction import Transaction
from tests.harness.examples import first
from tests.harness.soundness import faults
from tests.unit.protocols.payments.charges import ASSET, BOB, INPUT, MALLORY, NOW, entry, payer, result
from tests.unit.store.payments import sums

STEPS = 300
EXPOSURE = Exposure(payer=650, total=900, charges=6)
USDC = f"eip155:8453/{ASSET.hex()}"


class Model:
    """The rows in memory, and the same steps on them."""

    def __init__(self) -> None:
        self.rows: dict[str, Charge] = {}

    def owing(self, one) -> Owing:
        live = [row for row in self.rows.values() if row.state in LIVE]
        own = [row.live for row in live if row.entry.authorization.from_ == one.authorization.from_]
        peers = [row.live for row in live if row.entry.peer == one.peer]
        return Owing(sum(own), max(len(own), len(peers)), sum(row.live for row in live), sum(peers))

    def sums(self, number: int | None) -> Sums:
        rows = [row for row in self.rows.values() if number in (None, row.entry.authorization.from_[0])]
        return Sums(*map(sum, zip(*(astuple(parts_of(row)) for row in rows), strict=True))) if rows else Sums()


@pytest.mark.parametrize("seed", first(1, range(6)))
async def test_any_steps_in_any_order(store, seed) -> None:
    rng = Random(seed)
    model = Model()
    taken: set[str] = set()
    for at in range(STEPS):
        number = rng.randrange(9)
        tab = number > 6
        peer = (BOB, MALLORY)[number % 3 % 2]
        one = entry(number, payer_number=7 + number % 2, amount=rng.choice((90, 100)), tab=tab, request=b"r", peer=peer)
        if rng.random() < 0.05:
            one = replace(one, request=b"other")
        now = NOW + at
        step = rng.choice(["reserve"] * 3 + ["due", "due", "finish", "interrupt", "release", "grow", "sent", "settled"])
        step = rng.choice(["lost", "reopened", "recover"]) if rng.random() < 0.12 else step
        taken.add(step)
        row = model.rows.get(one.key)
        if row is None and step not in ("reserve", "recover"):
            continue
        try:
            theirs = _ruled(model, step, row, one, now)
        except ChargeStateError:
            with pytest.raises(ChargeStateError):
                await _stored(store, step, row, one, now)
        else:
            ours = await _stored(store, step, row, one, now)
            assert _plain(ours) == _plain(theirs), f"seed {seed}, step {at}: {step}"
            if isinstance(theirs, Reserved):
                model.rows[one.key] = theirs.charge
            elif isinstance(theirs, Charge):
                model.rows[one.key] = theirs
        for key, charge in model.rows.items():
            assert replace(await store.ledger.row(key), position=0) == charge, f"seed {seed}, step {at}: {step}"
        assert await sums(store, USDC) == model.sums(None)
        assert await sums(store, USDC, payer(7)) == model.sums(7)
    assert await faults(store) == []
    assert len(taken) == 11
    assert len({row.state for row in model.rows.values()}) > 2


def _plain(answer: object) -> object:
    match answer:
        case Charge():
            return replace(answer, position=0, result=replace(answer.result, data=None))
        case Refused():
            return answer
        case None:
            return None
        case _:
            return type(answer), replace(answer.charge, position=0)


def _ruled(model: Model, step: str, row: Charge | None, one, now: int) -> object:
    if step == "reserve":
        return rules.reserve(row, one, now=now, balance=700, owing=model.owing(one), exposure=EXPOSURE)
    if step == "recover":
        for key, charge in model.rows.items():
            if charge.working or charge.state is State.RESERVED:
                model.rows[key] = rules.recovered(charge, now=now)
        return None
    assert row is not None
    whole = {"result": _result(now), "receipt": b"receipt"}
    match step:
        case "due":
            return rules.due(row, amount=100, now=now, **_output(now))
        case "finish":
            return rules.finish(row, now=now, **whole)
        case "interrupt":
            return rules.interrupt(row, now=now)
        case "release":
            return rules.release(row, reason="failed", now=now)
        case "grow":
            return rules.grow(
                row,
                amount=100 + now % 97,
                signature=b"s",
                now=now,
                balance=700,
                owing=model.owing(row.entry),
                exposure=EXPOSURE,
            )
        case "sent":
            return rules.submitted(row, transaction=f"0x{now:064x}", now=now)
        case "settled":
            return rules.settled(row, transaction="0x1", block=now % 100, now=now)
        case "lost":
            return rules.lost(row, reason="cancelled", now=now)
        case _:
            return rules.reopened(row, reason="reorganised", now=now)


async def _stored(store, step: str, row: Charge | None, one, now: int) -> object:
    ledger, key = store.ledger, one.key
    whole = {"result": _result(now), "receipt": b"receipt"}
    match step:
        case "reserve":
            return await ledger.reserve(one, now=now, balance=700, exposure=EXPOSURE)
        case "recover":
            await ledger.recover(now)
            return None
        case "due":
            return await ledger.due(key, amount=100, now=now, **_output(now))
        case "finish":
            return await ledger.finish(key, now=now, **whole)
        case "interrupt":
            return await ledger.interrupt(key, now=now)
        case "release":
            return await ledger.release(key, "failed", now)
        case "grow":
            return await ledger.grow(key, 100 + now % 97, b"s", now, balance=700, exposure=EXPOSURE)
        case "sent":
            sent = Transaction(
                network="eip155:8453", account="ab" * 20, account_nonce=now % 50, hash=f"0x{now:064x}", raw=b"raw"
            )
            return (await ledger.submitted(key, sent, now))[0]
        case "settled":
            return await ledger.settled(key, "0x1", now % 100, now)
        case "lost":
            return await ledger.lost(key, "cancelled", now)
        case _:
            return await ledger.reopened(key, "reorganised", now)


def _result(now: int) -> Result:
    return result(f"done at {now}")


def _output(now: int) -> dict[str, object]:
    """A whole result, or the beginning of a stream."""
    if now % 2:
        return {"result": _result(now), "receipt": b"receipt"}
    return {"result": None, "receipt": b"", "input_": INPUT if now % 4 else b""}
