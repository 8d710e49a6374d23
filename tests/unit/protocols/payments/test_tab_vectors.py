"""Tabs as other implementations read them: what each side says to what it is told, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nexusd_protocols.payments import tab
from nexusd_protocols.payments.authorization import Account, sign
from nexusd_protocols.payments.tab_payer import TabPayer
from nexusd_protocols.payments.tab_provider import TabProvider
from nexusd_protocols.payments.terms import PriceTerms, read_requirements
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.payments.verify import Verified, verify
from tests.harness.paying import NOW, PAYER, THIEF, payment
from tests.harness.vectors import named, vectors

DOC = vectors("payments")["tab"]


def terms_of(case: dict[str, Any]) -> PriceTerms:
    own = {**DOC["terms"]["extra"]["nexus"], **case.get("terms", {})}
    amount = own.pop("amount", DOC["terms"]["amount"])
    extra = {**DOC["terms"]["extra"], "nexus": own}
    entry = {**DOC["terms"], "amount": amount, "maxTimeoutSeconds": 600, "extra": extra}
    terms = read_requirements(entry, Tokens(), "chat")
    assert isinstance(terms, PriceTerms), terms
    return terms


class Payer:
    """Reads inputs and writes outputs of a payer."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.terms = terms_of(case)
        self.opening = opened_by(self.terms, int(case["opens"]), 0, NOW)
        budget = int(case["maxPrice"])
        self.machine = TabPayer(self.terms, self.opening.authorization, budget=budget, now_s=NOW)

    def step(self, at_s: int, input_: list[Any]) -> list[list[Any]]:
        match input_:
            case ["received", pieces, size]:
                told: list[tab.PayerInput] = [tab.Received(size)] * pieces
            case ["supplied", size]:
                told = [tab.Supplied(size)]
            case ["gives up"]:
                told = [tab.GivenUp()]
            case ["due", number, units, amount, final]:
                told = [tab.Asked(number, units, int(amount), final)]
            case _:
                raise AssertionError(input_)
        now_s = NOW + at_s
        return [self._said(output, now_s) for each in told for output in self.machine.handle(each, now_s)]

    def _said(self, output: tab.PayerOutput, now_s: int) -> list[Any]:
        match output:
            case tab.Authorise(number, authorization, final):
                return ["sign", number, str(authorization.value), final]
            case tab.OpenTab(number, amount, final):
                self.machine.opened(opened_by(self.terms, amount, number, now_s).authorization)
                return ["open", number, str(amount), final]
            case tab.Exhausted(number):
                return ["exhausted", number]
            case tab.Stop(fault):
                return ["stop", fault.code]


class Provider:
    """The same of a provider."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.terms = terms_of(case)
        self.machine = TabProvider(opened_by(self.terms, int(case["opens"]), 0, NOW))

    def step(self, at_s: int, input_: list[Any]) -> list[list[Any]]:
        now_s = NOW + at_s
        match input_:
            case ["produced", units]:
                told: tab.ProviderInput = tab.Produced(units)
            case ["sent", units]:
                told = tab.Sent(units)
            case ["waits", units]:
                told = tab.Wanted(units)
            case ["finished"]:
                told = tab.Finished()
            case ["signed", number, amount, final, who]:
                told = tab.Grown(number, int(amount), self._signature(int(amount), who), final)
            case ["opened", number, amount, final]:
                told = tab.Opened(number, opened_by(self.terms, int(amount), number, now_s), final)
            case ["opened again", number, amount, final]:
                told = tab.Opened(number, opened_by(self.terms, int(amount), 0, now_s), final)
            case ["exhausted", number]:
                told = tab.Exhausted(number)
            case ["time passes"]:
                told = tab.Tick()
            case _:
                raise AssertionError(input_)
        return [said(output) for output in self.machine.handle(told, now_s)]

    def _signature(self, amount: int, who: str) -> str:
        now = replace(self.machine._authorization, value=amount)
        signers: dict[str, Account] = {"payer": PAYER, "another": THIEF, "payer, later window": PAYER}
        if who == "payer, later window":
            now = replace(now, valid_before=now.valid_before + 60)
        signer = signers[who]
        return f"0x{sign(replace(now, from_=signer.address), self.terms.token, signer).hex()}"


def said(output: tab.ProviderOutput) -> list[Any]:
    match output:
        case tab.Cost(units):
            return ["needs", units]
        case tab.Ask(number, units, amount, final):
            return ["due", number, units, str(amount), final]
        case tab.Covered(_, amount):
            return ["covered", str(amount)]
        case tab.Lowered(_, amount):
            return ["lowered", str(amount)]
        case tab.Rolled(number, _, base):
            return ["rolled", number, base]
        case tab.Stop(fault):
            return ["stop", fault.code]


def opened_by(terms: PriceTerms, amount: int, number: int, now_s: int) -> Verified:
    paid = payment(terms, nonce=bytes([number]) * 32, value=amount, now_s=now_s)
    shown = verify(paid, [terms], now_s=now_s, further=True)
    assert isinstance(shown, Verified), shown
    return shown


@pytest.mark.parametrize("case", **named(DOC["payer"]))
def test_a_payer(case):
    side = Payer(case)
    for at_s, input_, outputs in case["steps"]:
        assert side.step(at_s, input_) == outputs, (at_s, input_)


@pytest.mark.parametrize("case", **named(DOC["provider"]))
def test_a_provider(case):
    side = Provider(case)
    for at_s, input_, outputs in case["steps"]:
        assert side.step(at_s, input_) == outputs, (at_s, input_)
