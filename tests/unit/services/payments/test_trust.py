"""Who is trusted how far, and what is offered to whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nexusd.services.payments.footing import Footing
from nexusd.services.payments.trust import Allowance, Level, Payers, Trust
from nexusd_protocols.payments.tokens import USDC_BASE, USDC_BASE_SEPOLIA
from tests.harness.paying import PAYER, tab_price
from tests.harness.people import ALICE
from tests.unit.services.payments.fair import PRICE, Call, fair, pieces, settle_one
from tests.unit.services.payments.market import shop_of


async def test_levels(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        standings = market.seller.standings
        peer, account = ALICE.peer_id, PAYER.address

        async def level(**options: Any) -> Level:
            trust = Trust(known_after=2, **options.pop("trust", {}))
            return await Payers(trust, standings, **options).level(peer, account)

        assert await level() is Level.STRANGER
        assert await level(acquainted=lambda who: who == peer) is Level.KNOWN
        assert await level(trust={"trusted_peers": frozenset({peer})}) is Level.TRUSTED
        await settle_one(market, 1)
        assert await level() is Level.STRANGER
        await settle_one(market, 2)
        assert await level() is Level.KNOWN
        call = Call(market, pieces(20))
        await call.run()
        (row,) = await call.rows()
        await market.seller.ledger.lost(row.entry.key, "cancelled", market.bob.now, by_payer=True)
        assert await level(trust={"trusted_peers": frozenset({peer})}) is Level.OFFENDER


async def test_payments_in_another_token_make_nobody_known(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        for number in (1, 2, 3):
            await settle_one(market, number)
        payers = Payers(Trust(), market.seller.standings)
        assert await payers.level(ALICE.peer_id, token=USDC_BASE) is Level.KNOWN
        assert await payers.level(ALICE.peer_id, token=USDC_BASE_SEPOLIA) is Level.STRANGER
        sepolia = replace(PRICE, token=USDC_BASE_SEPOLIA)
        bob = shop_of(market.bob)
        footing = Footing(bob.trust, payers, bob.chains, bob.credits, ALICE.peer_id, [PRICE, sepolia, PRICE])
        market.chains.nodes = {8453, 84532}
        assert [bool(each.credit) for each in await footing.offers()] == [True, False, True]


def test_offers_follow_from_the_level() -> None:
    trust = Trust(
        stranger=Allowance(tab=2_000, exposure=0),
        known=Allowance(tab=50_000, exposure=0),
        trusted=Allowance(tab=10**9, exposure=0),
        offline=700,
    )
    exact = replace(PRICE, flow="authorization", unit="request", unit_price=0, ahead=0)
    terms = tab_price(amount=250_000)

    def offered(level: Level, online: bool = True) -> list[tuple[int, int, int]]:
        found = trust.offers(level, [exact, terms], lambda _: online)
        assert (exact in found) is (online or level is not Level.OFFENDER)
        return [(each.amount, each.ahead, each.credit) for each in found if each.flow == "tab"]

    assert offered(Level.OFFENDER) == offered(Level.OFFENDER, online=False) == []
    assert offered(Level.STRANGER) == [(2_000, 500, 0)]
    assert offered(Level.KNOWN) == [(50_000, 5, 495)]
    assert offered(Level.TRUSTED) == [(250_000, 5, 495)]
    assert offered(Level.TRUSTED, online=False) == [(700, 5, 495)]
    assert offered(Level.STRANGER, online=False) == [(700, 500, 0)]
