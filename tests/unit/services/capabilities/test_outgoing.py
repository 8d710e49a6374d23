"""What a caller is told of a call that the provider does not answer: words for people, codes for programs."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from nexusd.services.capabilities.outgoing import OutgoingCall
from nexusd.services.capabilities.ports import CallError, End
from nexusd.services.trade import Ended
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.payments import faults
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.nodes import signer

ALICE, BOB = signer("alice").peer_id, signer("bob").peer_id
PRICE = faults.CODES[faults.EXPOSURE]


class Says:
    """A stream on which bob says these."""

    peer = BOB

    def __init__(self, *said: events.CallerEvent | Exception) -> None:
        self.said = list(said)

    def ready(self) -> list[events.CallerEvent]:
        return []

    async def receive(self) -> events.CallerEvent:
        await trio.lowlevel.checkpoint()
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def send(self, *_: Any, timeout: float | None = None) -> None:
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        await trio.lowlevel.checkpoint()


async def error_of(said: events.CallerEvent | Exception, refusal: Refusal | None = None) -> CallError:
    """How a call ends for its caller, who does not pay for that reason."""

    async def pay(_: events.PaymentDemanded) -> Refusal:
        await trio.lowlevel.checkpoint()
        assert refusal is not None
        return refusal

    channel: Any = Says(said)
    call = OutgoingCall("i", channel, Caller(ALICE, BOB), 1000, lambda *_: None, pay)
    end = await call.receive()
    assert isinstance(end, End)
    assert end.error is not None
    return end.error


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (f"{PRICE} (of this payer)", f"{PRICE} (of this payer)"),
        ("nexus_exposure: too much", "too much"),
        ("nexus_exposure", PRICE),
        ("", PRICE),
    ],
)
async def test_why_a_payment_was_not_taken_is_a_sentence_and_its_code_stands_apart(message: str, told: str) -> None:
    error = await error_of(events.Failed("PAYMENT_INVALID", message, {"errorReason": "nexus_exposure"}))
    assert error == CallError(
        "payment_invalid",
        f"The provider did not take the payment: {told}",
        "PAYMENT_INVALID",
        "nexus_exposure",
    )


async def test_the_name_of_a_fault_is_known_where_something_was_charged() -> None:
    message = f"invalid_transaction_state: {faults.CODES[faults.TRANSACTION_STATE]}"
    error = await error_of(events.Failed("PAYMENT_INVALID", message, {"success": True}))
    assert error.reason == faults.TRANSACTION_STATE
    assert error.message == f"The provider did not take the payment: {faults.CODES[faults.TRANSACTION_STATE]}"


@pytest.mark.parametrize("response", [None, {"errorReason": 7}, {"errorReason": "x" * 9999}, "no object"])
async def test_a_payment_that_was_not_taken_for_no_known_reason(response: Any) -> None:
    error = await error_of(events.Failed("PAYMENT_INVALID", "", response))
    assert (error.message, error.reason) == ("The provider did not take the payment: PAYMENT_INVALID", "")


@pytest.mark.parametrize(
    ("code", "message"),
    [("NOT_FOUND", "no capability 'loud' here"), ("FORBIDDEN", "not for you"), ("BUSY", "try again later")],
)
async def test_what_a_provider_says_of_itself_names_it(code: str, message: str) -> None:
    assert (await error_of(events.Failed(code, message, None))).message == f"{BOB} says: {message}"


async def test_what_the_capability_itself_says_is_told_as_it_is() -> None:
    response = {"success": False, "errorReason": "unexpected_settle_error"}
    error = await error_of(events.Failed("COMMAND_FAILED", "exit status 3", response))
    assert error == CallError("invoke_failed", "exit status 3", "COMMAND_FAILED")


@pytest.mark.parametrize(("detail", "words"), [("event 3", "event 3"), ("", "seq went back")])
async def test_a_provider_that_breaks_the_protocol_is_told_of_in_words(detail: str, words: str) -> None:
    error = await error_of(RemoteProtocolError("seq_went_back", detail))
    assert (error.message, error.remote_code) == (f"The provider broke the protocol: {words}", "seq_went_back")


async def test_why_this_node_does_not_pay_is_told_for_programs_too() -> None:
    refusal = Refusal("payment_refused", "more than this call may cost", {"reason": "over_what_the_call_allows"})
    error = await error_of(events.PaymentDemanded(None, None), refusal)
    assert (error.code, error.reason) == ("payment_refused", "over_what_the_call_allows")


class Tab:
    """A payment under a tab, whose last word takes a while."""

    def __init__(self) -> None:
        self.seen = 0

    def received(self, size: int) -> None:
        self.seen += size

    async def given_up(self) -> commands.Grow:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        return commands.Grow(0, self.seen, "0x", final=True)

    async def ended(self, how: Ended) -> None:
        await trio.lowlevel.checkpoint()


class Streaming(Says):
    """A provider that gives a piece after the other, of which some lie here already."""

    def __init__(self, *here: events.CallerEvent) -> None:
        super().__init__()
        self.here = list(here)
        self.log: list[Any] = []

    def ready(self) -> list[events.CallerEvent]:
        here, self.here = self.here, []
        return here

    async def receive(self) -> events.CallerEvent:
        await trio.lowlevel.checkpoint()
        return PIECE

    async def send(self, *sent: Any, timeout: float | None = None) -> None:
        await trio.lowlevel.checkpoint()
        self.log += sent

    async def reset(self) -> None:
        self.log.append("reset")

    async def aclose(self) -> None:
        self.log.append("closed")


PIECE = events.Output(0, "partial", "x", 1)


@pytest.mark.parametrize("reads", [True, False])
async def test_whoever_gives_up_says_what_it_pays_before_it_goes(reads: bool) -> None:
    """Though output comes all the time; and for all that is here, read or not."""
    channel: Any = Streaming(PIECE, PIECE)
    call = OutgoingCall("i", channel, Caller(ALICE, BOB), 60_000, lambda *_: None, pay_nothing)
    payment: Any = Tab()
    call.payment = payment

    async def read() -> None:
        while not isinstance(await call.receive(), End):
            pass

    async with trio.open_nursery() as nursery:
        if reads:
            nursery.start_soon(read)
            await trio.lowlevel.checkpoint()
        await call.cancel("enough")
        if not reads:
            await read()
    grown, cancelled, last = channel.log
    assert (type(grown), type(cancelled), last) == (commands.Grow, commands.Cancel, "closed")
    assert grown.amount >= 2


async def pay_nothing(_: events.PaymentDemanded) -> Refusal:
    await trio.lowlevel.checkpoint()
    return Refusal("payment_refused")
