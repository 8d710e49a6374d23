"""Telling whoever typed a call that may cost something what it waits for: a person's word, or the provider."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

import msgspec

from nexusd.cli.session import current
from nexusd.cli.terminal import clean
from nexusd.client.errors import NexusError
from nexusd_protocols.rpc.schema import PaymentSummary, PurchaseView

FIRST_LOOK_S: Final = 0.5
"""Most calls have an answer by then, and ask nothing more of the daemon."""
LOOK_AGAIN_S: Final = 2.0
THREAD: Final = "payment-notice"


def given_up(purchase: str) -> NexusError | None:
    """What a call costs that its user gave up, as far as it is known; None where nothing was signed for it."""
    try:
        one: PurchaseView = current().call("pay.explain", id=purchase).purchase
    except (NexusError, OSError):  # it was not asked for yet, or the daemon is gone too
        return None
    if one.signed == "0":
        return None
    payment = PaymentSummary(
        id=one.id, state="unknown", amount=one.signed, asset=one.asset, network=one.network, pay_to=one.pay_to
    )
    return NexusError(
        "invoke_cancelled",
        f"given up; {one.signed} {one.asset} on {one.network} is signed for, and charged if it was worked for",
        f"see `nexus pay explain {one.id}`",
        data={"payment": msgspec.to_builtins(payment)},
    )


def lost(purchase: str) -> str:
    """What to do about a call that may have been paid for, and whose daemon went away: it alone knows."""
    explain = f"see `nexus pay explain {clean(purchase)}` before you call again"
    try:
        one: PurchaseView = current().call("pay.explain", id=purchase).purchase
    except (NexusError, OSError):
        return f"the daemon knows whether it was paid for: once it runs again, {explain}"
    if one.signed != "0":
        return clean(f"{one.signed} {one.asset} on {one.network} is signed for: ") + explain
    return "nothing was signed for it: call again" if one.state == "closed" else explain


class PaymentNotice:
    """In `with`, while nothing has come of a call that may cost something: looks how its payment stands, and says so
    when that changes. `came` ends that before the block does."""

    def __init__(self, purchase: str) -> None:
        self._purchase = purchase
        self._session = current()
        self._came = threading.Event()
        self._thread = threading.Thread(target=self._look, name=THREAD, daemon=True)

    def came(self) -> None:
        """Something came: nobody is waited for any more."""
        self._came.set()

    def _look(self) -> None:
        pause, told = FIRST_LOOK_S, ""
        while not self._came.wait(pause):
            pause = LOOK_AGAIN_S
            try:
                one: PurchaseView = self._session.call("pay.explain", id=self._purchase).purchase
            except NexusError as error:
                if error.code == "payment_unknown":
                    continue  # the provider has not asked for it yet
                return  # the call itself tells what is wrong
            except OSError:
                return
            words = self._words(one)
            if words and words != told and not self._came.is_set():
                told = words
                self._session.say(clean(words))

    def _words(self, one: PurchaseView) -> str:
        amount = f"{one.amount} {one.asset}"
        if one.state == "waiting":
            nexus = self._command()
            return f"{amount} wait for your word: {nexus} pay approve {one.id} (or {nexus} pay reject {one.id})"
        if one.state == "signed" and one.tabs:
            return f"signed for {one.signed} of at most {amount} on {one.network}; waiting for {one.capability}"
        if one.state == "signed":
            return (
                f"signed for {amount} on {one.network}; waiting for {one.capability}, which may first have the payment "
                "settled"
            )
        return ""

    def _command(self) -> str:
        options = self._session.options
        if options.name is not None:
            return f"nexus --name {options.name}"
        return "nexus" if options.data_dir is None else f"nexus --data-dir {options.data_dir}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.came()
        self._thread.join(timeout=1)
