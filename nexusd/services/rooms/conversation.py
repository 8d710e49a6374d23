"""What was said in a room: pages of its log, also of one that was left."""

from __future__ import annotations

from nexusd.agents import Agent
from nexusd.services.ports import NameOf, Resolve
from nexusd.services.views import room_message, room_version
from nexusd.store import Store
from nexusd.store.paging import Page
from nexusd.store.room_rows import RoomRow
from nexusd_protocols.ids import MessageId, RoomId
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import (
    RoomHistory,
    RoomHistoryParams,
    RoomMessageParams,
    RoomSearchParams,
    RoomVersions,
)


class Conversation:
    """Reads logs."""

    def __init__(self, *, store: Store, name_of: NameOf, resolve: Resolve) -> None:
        self._store = store
        self._name_of = name_of
        self._resolve = resolve

    async def history(self, agent: Agent, room: RoomId, params: RoomHistoryParams) -> RoomHistory | Refusal:
        """A page, in room order."""
        author = None if params.author is None else self._resolve(params.author)
        if isinstance(author, Refusal):
            return author
        try:
            page = await self._store.log.history(
                agent.id,
                room,
                after=params.after,
                before=params.before,
                since=params.since,
                until=params.until,
                author=author,
                thread=params.thread_id,
                limit=params.limit,
            )
        except LookupError as error:
            return Refusal("invalid_params", str(error))
        return self._shown(page)

    async def search(self, agent: Agent, room: RoomId, params: RoomSearchParams) -> RoomHistory | Refusal:
        """Messages that hold every word."""
        try:
            page = await self._store.log.search(agent.id, room, params.query, limit=params.limit, before=params.before)
        except (LookupError, ValueError) as error:
            return Refusal("invalid_params", str(error))
        return self._shown(page)

    async def versions(self, agent: Agent, room: RoomId, params: RoomMessageParams) -> RoomVersions | Refusal:
        """Everything that was signed about one message."""
        rows = await self._store.log.versions(agent.id, room, MessageId(params.message_id))
        found = [room_version(row, self._name_of) for row in rows if row.kind != "meta"]
        if not found:
            return Refusal("message_unknown", f"No message {params.message_id} in {room}")
        return RoomVersions(versions=found)

    def _shown(self, page: Page[RoomRow]) -> RoomHistory:
        messages = [room_message(row, self._name_of) for row in page.rows]
        return RoomHistory(
            messages=messages,
            more=page.more,
            first=messages[0].position if messages else None,
            last=messages[-1].position if messages else None,
        )
