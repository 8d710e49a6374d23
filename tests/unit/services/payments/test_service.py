"""Payments as the doors ask for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from nexusd.agents import Agents
from nexusd.services.payments.service import Payments
from nexusd.services.payments.trust import Trust
from nexusd.store import Store
from nexusd_protocols import limits
from nexusd_protocols.identity import AgentId
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.charge import State
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.people import ALICE
from tests.harness.stores import opened
from tests.unit.protocols.payments.charges import NOW, PAYEE, WIDE, entry
from tests.unit.store.payments import ask, intent
from tests.unit.store.people import ALICES_SECOND

AGENT = AgentId(ALICE.peer_id)
FIRST, SECOND = "01a22825-0bd2-7d10-9734-0b7029d48657", "01a22825-0c4d-761b-890f-cec3fa3d688d"


def payments(store: Store, directory: Path, chains: Any) -> Payments:
    """alice's, who knows nobody."""
    return Payments(
        agents=Agents(ALICE),
        store=store,
        chains=chains,
        tokens=Tokens(),
        trust=Trust(),
        acquainted=lambda _: False,
        clock=lambda: NOW,
        entropy=bytes,
        emit=lambda _: None,
        resolve=lambda text: Refusal("unknown_peer", text),
        directory=directory,
        advertised=lambda _peer, _capability: (),
        opened=lambda _: None,
    )


@asynccontextmanager
async def alice(directory: Path) -> AsyncIterator[Payments]:
    """Two payments of hers wait for a person, and one of another agent's."""
    chains = SimpleNamespace(online=lambda _: False, health=list)
    async with opened(directory / "store.sqlite") as store:
        for number, id_ in enumerate((FIRST, SECOND)):
            await store.purchases.intend(intent(number, id=id_, agent=AGENT), ask, now=NOW)
        await store.purchases.intend(intent(3, id=f"{FIRST}0", agent=ALICES_SECOND), ask, now=NOW)
        yield payments(store, directory, chains)


def named(id_: str) -> schema.PayIdParams:
    return schema.PayIdParams(id=id_)


@pytest.mark.parametrize("text", [FIRST, FIRST[:13]])
async def test_the_beginning_of_an_id_stands_for_it(tmp_path: Path, text: str) -> None:
    async with alice(tmp_path) as running:
        explained = await running.explain(named(text))
        assert isinstance(explained, schema.PayExplained)
        assert explained.purchase.id == FIRST
        approved = await running.approve(named(text))
        assert isinstance(approved, schema.PurchaseView)
        assert approved.id == FIRST
        rejected = await running.reject(named(SECOND[:13]))
        assert isinstance(rejected, schema.PurchaseView)
        assert (rejected.id, rejected.state) == (SECOND, "closed")


async def test_of_two_persons_who_decide_at_once_one_does(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        answers: list[Any] = []

        async def decide(method: Callable[[schema.PayIdParams], Awaitable[Any]]) -> None:
            answers.append(await method(named(FIRST)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(decide, running.approve)
            nursery.start_soon(decide, running.reject)
        (view,) = (answer for answer in answers if isinstance(answer, schema.PurchaseView))
        (refusal,) = (answer for answer in answers if isinstance(answer, Refusal))
        assert (refusal.code, refusal.message) == ("refused", f"The payment waits for nobody: it is {view.state}")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            schema.PayPolicySetParams(assets=["usdc", "FOO"]),
            "There is no token 'FOO' that is known: there are USDC, and",
        ),
        (schema.PayPolicySetParams(max_window_s=59), "Settling takes 60 s: a shorter window allows nothing"),
    ],
)
async def test_a_policy_that_would_allow_nothing_by_mistake_is_refused(
    tmp_path: Path, change: schema.PayPolicySetParams, why: str
) -> None:
    async with alice(tmp_path) as mine:
        refused = await mine.set_policy(change)
        assert isinstance(refused, Refusal)
        assert (refused.code, refused.message[: len(why)]) == ("invalid_params", why)
        empty = await mine.set_policy(schema.PayPolicySetParams(assets=[], max_window_s=60))
        assert isinstance(empty, schema.PayPolicy)
        assert (empty.assets, empty.max_window_s) == ([], 60)


async def test_a_page_of_payments_names_where_to_read_on(tmp_path: Path) -> None:
    async with alice(tmp_path) as mine:
        newest = await mine.history(schema.PayListParams(limit=1))
        assert isinstance(newest, schema.PurchaseList)
        assert ([each.id for each in newest.purchases], newest.more) == ([SECOND], True)
        older = await mine.history(schema.PayListParams(limit=1, before=newest.first))
        assert isinstance(older, schema.PurchaseList)
        assert ([each.id for each in older.purchases], older.more) == ([FIRST], False)
        assert older.last == older.first
        none = await mine.history(schema.PayListParams(receipts=True))
        assert none == schema.PurchaseList(purchases=[])


@pytest.mark.parametrize("after", [None, 0])
async def test_charges_are_paged(tmp_path: Path, after: int | None) -> None:
    chains = SimpleNamespace(online=lambda _: False, health=list)
    async with opened(tmp_path / "store.sqlite") as store:
        mine = payments(store, tmp_path, chains)
        for number in (1, 2):
            await store.ledger.reserve(entry(number, agent=AGENT), now=NOW, balance=None, exposure=WIDE)
        page = await mine.settlements(schema.PaySettleParams(limit=1, after=after))
        assert isinstance(page, schema.PaySettleStatus)
        assert ([each.cursor for each in page.charges], page.more) == ([2 if after is None else 1], True)
        assert page.first == page.last == page.charges[0].cursor


async def test_without_a_node_what_is_owed_ends_and_one_that_is_named_later_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = NOW - limits.PAYMENT_KEY_MARGIN_MS - 1000
    one = entry(agent=AGENT, until=end // 1000)
    async with opened(tmp_path / "store.sqlite") as store:
        await store.ledger.reserve(one, now=end - 60_000, balance=None, exposure=WIDE)
        await store.ledger.due(one.key, amount=one.amount, now=end - 60_000)
        for online, state in ((False, State.LOST), (True, State.DUE)):
            running = payments(store, tmp_path, SimpleNamespace(online=lambda _, online=online: online))
            tidied = trio.Event()

            async def forget(_: int, tidied: trio.Event = tidied) -> int:
                tidied.set()
                return 0

            monkeypatch.setattr(store.ledger, "forget", forget)
            async with trio.open_nursery() as nursery:
                await nursery.start(running.run)
                await tidied.wait()
                nursery.cancel_scope.cancel()
            row = await store.ledger.row(one.key)
            assert row is not None
            assert row.state is state


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("01a22825", "ambiguous_payment", "2 payments begin with '01a22825'"),
        ("01a22", "payment_unknown", "There is no payment '01a22', and 6 characters of one's id are needed"),
        ("01a22825-0d", "payment_unknown", "There is no payment '01a22825-0d', and none begins so"),
        (f"{FIRST}0", "payment_unknown", f"There is no payment '{FIRST}0', and none begins so"),
    ],
)
async def test_a_beginning_that_fits_several_or_none_is_refused(
    tmp_path: Path, text: str, code: str, message: str
) -> None:
    async with alice(tmp_path) as running:
        for method in (running.explain, running.approve, running.reject):
            refusal = await method(named(text))
            assert isinstance(refusal, Refusal)
            assert (refusal.code, refusal.message) == (code, message)


async def test_a_chain_that_does_not_answer_is_told_of_in_words(tmp_path: Path) -> None:
    async def fault(*_: object) -> PaymentFault:
        await trio.lowlevel.checkpoint()
        return PaymentFault(faults.UNEXPECTED_VERIFY, "the node does not answer")

    chains = SimpleNamespace(online=lambda chain_id: chain_id == 8453, holdings=fault)
    (tmp_path / "wallet.json").write_text(f'{{"address": "{PAYEE.hex()}"}}')
    async with opened(tmp_path / "store.sqlite") as store:
        running = payments(store, tmp_path, chains)
        await running.wallet.load(None)
        found = await running.balance()
    assert isinstance(found, schema.WalletBalances)
    (base,) = (each for each in found.balances if each.online)
    assert (base.amount, base.gas, base.problem) == (None, None, "the node does not answer")
