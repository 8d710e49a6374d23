"""What a daemon answers to whoever asks what it offers: prices too, and much in few words."""

from __future__ import annotations

from typing import Any

import pytest

from nexusd.agents import Agent
from nexusd.services.capabilities.inquiry import Inquiry
from nexusd.services.capabilities.registry import Entry
from nexusd.services.ports import Persona
from nexusd_protocols import limits
from nexusd_protocols.handshake.answerer import Answerer
from nexusd_protocols.handshake.asker import Answered, Ask, Asker
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import USDC_POLYGON, Token, Tokens
from nexusd_protocols.rpc.schema import CapabilityOptions
from tests.harness.paying import price, tab_price
from tests.harness.people import ALICE, BOB

EURC = Token(chain_id=8453, address=Address(b"\x60" * 20), symbol="EURC", name="EURC", version="2", decimals=2)
PROVIDER: Any = object()


class Line:
    """alice asked, and bob answers: what he says is read as she would."""

    def __init__(self) -> None:
        self.peer = ALICE.peer_id
        self._asker = Asker(ALICE.peer_id, BOB.peer_id)
        self._answerer = Answerer(BOB.peer_id, ALICE.peer_id)
        (self._asked,) = self._answerer.receive(self._asker.send(Ask(request_id="r")))
        self.answer: Answered | None = None

    async def receive(self) -> Any:
        return self._asked

    async def send(self, command: Any) -> None:
        (self.answer,) = self._asker.receive(self._answerer.send(command))  # type: ignore[assignment]

    async def close_write(self) -> None:
        assert self.answer is not None


def entry(number: int, *offers: PriceTerms, description: str = "") -> Entry:
    name = CapabilityName(f"c{number}")
    options = CapabilityOptions(name=name, description=description)
    return Entry(AgentId(BOB.peer_id), name, "connection", PROVIDER, options, offers=offers)


async def asked(*entries: Entry, tokens: Tokens | None = None) -> tuple[Inquiry, Answered]:
    async def learn(_peer: Any, _name: str) -> None:
        raise AssertionError("alice has no name")

    inquiry = Inquiry(
        agent=Agent(AgentId(BOB.peer_id), BOB),
        streams=PROVIDER,
        persona_of=lambda _: Persona("bob", "tool", ()),
        entries=lambda _: list(entries),
        learn_name=learn,
        tokens=tokens or Tokens(),
    )
    line: Any = Line()
    await inquiry._answer(line)
    return inquiry, line.answer


async def test_all_prices_are_told_and_shown_in_whole_tokens() -> None:
    offers = [price(), price(token=USDC_POLYGON, amount=120_000), tab_price(token=EURC, unit_price=3, per=1000)]
    inquiry, answer = await asked(entry(0, *offers), entry(1))
    paid, free = [inquiry._capability(row) for row in answer.capabilities]
    assert (paid.free, free.free, free.prices) == (False, True, [])
    assert [str(each) for each in paid.prices[:2]] == ["0.1 USDC on base", "0.12 USDC on polygon"]
    assert (paid.prices[2].known, paid.prices[2].amount) == (False, "3"), "no token that is known here"
    knowing, _ = await asked(tokens=Tokens([EURC]))
    view = knowing._capability(answer.capabilities[0]).prices[2]
    assert (view.known, view.amount, view.per, view.cap, view.pay_to) == (True, "0.03", 1000, "2500", None)


@pytest.mark.parametrize("letter", ["a", "ü", "\U0001f600"])
async def test_who_has_much_to_say_of_much_is_understood(letter: str) -> None:
    offers = [tab_price(amount=10**70, unit_price=10**64, ahead=10**61, per=10**9, unit="token_out")] * 9
    many = [entry(n, *offers, description=letter * limits.DESCRIPTION_CHARS) for n in range(limits.HANDSHAKE_ROWS + 1)]
    _, answer = await asked(*many)
    assert [row.name for row in answer.capabilities] == [f"c{n}" for n in range(limits.HANDSHAKE_ROWS)]
    assert not any(row.free for row in answer.capabilities)
    whole = letter == "a"
    assert all(bool(row.description) is whole for row in answer.capabilities)
    assert all((row.prices and len(row.prices) == limits.HANDSHAKE_PRICES) or not whole for row in answer.capabilities)
