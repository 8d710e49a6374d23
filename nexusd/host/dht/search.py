"""Drives a lookup: asks whom it names, and tells it what became of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from nexusd.host.dht.requester import Requester
from nexusd.host.ports import HostError
from nexusd_protocols.kad.contact import Contact
from nexusd_protocols.kad.lookup import Answered, Failed, Lookup, Slow
from nexusd_protocols.kad.message import Message

SLOW_SECONDS: Final = 1.0
"""After that another peer is asked meanwhile: three round trips to the far side of the world take it."""
SEARCH_SECONDS: Final = 30.0
"""What was found by then is the result."""


async def search(
    lookup: Lookup,
    question: Message,
    requester: Requester,
    *,
    answered: Callable[[Contact, Message], bool],
    failed: Callable[[Contact, HostError | None], None],
) -> None:
    """Ask until the lookup is finished, or `answered` says that it is enough. `failed` hears of those that could not
    be asked, with None for those that were slow to the end."""
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + SEARCH_SECONDS

        def handle(event: Answered | Failed | Slow) -> None:
            proceed(lookup.handle(event))

        def proceed(contacts: list[Contact]) -> None:
            for contact in contacts:
                nursery.start_soon(ask, contact)
            if lookup.finished:
                nursery.cancel_scope.cancel()

        async def ask(contact: Contact) -> None:
            slow = False
            async with trio.open_nursery() as patience:

                async def tell_slow() -> None:
                    nonlocal slow
                    await trio.sleep(SLOW_SECONDS)
                    slow = True
                    handle(Slow(contact.peer))

                patience.start_soon(tell_slow)
                try:
                    answer = await requester.ask(contact, question)
                except HostError as error:
                    failed(contact, error)
                    handle(Failed(contact.peer))
                except trio.Cancelled:
                    if slow:
                        failed(contact, None)
                    raise
                else:
                    if answer is not None and answered(contact, answer):
                        nursery.cancel_scope.cancel()
                    handle(Answered(contact.peer, answer.closer if answer is not None else ()))
                patience.cancel_scope.cancel()

        proceed(lookup.begin())
