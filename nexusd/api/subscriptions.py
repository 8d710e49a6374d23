"""One subscription to the event feed: stored events behind a cursor, without a gap or a repeat, and live ones between.

    log --read(after=cursor)--> node.event --> Outgoing
    live channel -------------> node.event --> Outgoing

The cursor moves as an event is handed to the connection, in order: whoever was told it has had all before it.
"""

from __future__ import annotations

from typing import Any, Final

import trio

from nexusd.api.outgoing import Outgoing
from nexusd.api.ports import EventsService, LiveEvent, StoredEvent
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.connection import notification
from nexusd_protocols.rpc.schema import NodeEvent, SubscribeParams, SubscriptionEnded

_ROWS: Final = 64
"""Events read from the log at once: each may carry a message of 256 KiB."""


class EventSubscription:
    """A subscription of one connection. `cut` it, or cancel its task, to end it."""

    def __init__(
        self, subscription: str, params: SubscribeParams, cursor: int, events: EventsService, outgoing: Outgoing
    ) -> None:
        self.subscription = subscription
        self.cursor = cursor
        self._params = params
        self._events = events
        self._outgoing = outgoing
        self._scope = trio.CancelScope()
        self._over = False

    async def run(self) -> None:
        """Send events until the subscription is cut."""
        params = self._params
        with self._scope:
            async with (
                self._events.subscribe_live(params.kinds, params.room, params.peer) as live,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._follow_log)
                async for event in live:
                    await self._outgoing.send(self._line(event, None))

    def cut(self, reason: str) -> None:
        """End it now, and say where to continue. Never waits."""
        if self._over:
            return
        self._over = True
        self._scope.cancel()
        ended = SubscriptionEnded(subscription=self.subscription, reason=reason, cursor=self.cursor)
        self._outgoing.put(notification("node.subscriptionEnded", ended))

    async def _follow_log(self) -> None:
        params = self._params
        while True:
            newest = self._events.newest()
            rows = await self._events.read(
                after=self.cursor, kinds=params.kinds, room=params.room, peer=params.peer, limit=_ROWS
            )
            for row in rows:
                await self._outgoing.send(self._line(row, row.cursor))
                self.cursor = row.cursor
            if not rows:
                # a page that is not full may have been cut because its rows are large: only an empty one says that
                # what was stored up to `newest` and fits has been sent
                self.cursor = max(self.cursor, newest)
            if self.cursor >= newest:
                await self._events.wait_beyond(self.cursor)

    def _line(self, event: StoredEvent | LiveEvent, cursor: int | None) -> bytes:
        return notification(
            "node.event",
            NodeEvent(
                subscription=self.subscription,
                kind=event.kind,
                type=event.type,
                cursor=cursor,
                at=event.at,
                data=event.data,
            ),
        )


def begin(
    subscription: str, params: SubscribeParams, events: EventsService, outgoing: Outgoing
) -> EventSubscription | Refusal:
    """A subscription that begins where `params` say."""
    newest = events.newest()
    cursor: Any = newest if params.cursor is None else params.cursor
    if cursor > newest:
        return Refusal("bad_cursor", f"The newest cursor is {newest}")
    return EventSubscription(subscription, params, cursor, events, outgoing)
