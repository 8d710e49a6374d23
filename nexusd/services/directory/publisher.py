"""Keeps what others are told of this node in line with what it is: publishes, renews in time, takes back.

    changed -> settle: what is offered now, against what was told last
        new, or changed, or half of its time is over  -> keep the document, sign, put; meet there
        offered no more                               -> a withdrawal in its place

Which keys were told is on disk before anybody hears of them: what is offered no more after a crash is taken back too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import msgspec
import structlog
import trio

from nexusd.agents import Agent
from nexusd.host.ports import HostError
from nexusd.services.directory.offers import Offer, offers
from nexusd.services.directory.ports import Keep, Names, Sources
from nexusd.services.ports import WallClock
from nexusd.services.sequence import Sequence
from nexusd.store import Store
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pointer import envelope
from nexusd_protocols.pointer.keys import TTL_MS, Key, meeting_place

log = structlog.get_logger(__name__)

DEBOUNCE_S: Final = 1.0
"""Changes come together: a provider that connects registers all that it has."""
LOOK_S: Final = 60.0
"""Between looks at what is due, at what changed without a word, and at what could not be done the last time."""
RENEW: Final = (0.4, 0.5)
"""At which part of its time a pointer is renewed: a round can be missed, and not all are due at once."""
AT_ONCE: Final = 4
"""Pointers told at once: each asks and tells some forty peers."""
GOODBYE_S: Final = 1.0
"""For taking back, at the end, what nobody can use any more."""

_OF_THE_HOUR: Final = frozenset({"capability-pointer", "storage-offer"})
"""Kinds that mean nothing without this node."""
_TOLD: Final = "directory/told"
_SINCE: Final = "directory/since"


@dataclass(frozen=True, slots=True)
class _Told:
    """What was published last under a key. `block` is the document, if it is of this node's making; `due_at` (unix
    milliseconds) is when the pointer is renewed."""

    facts: object
    cid: Cid
    block: Block | None
    due_at: int


class Publisher:
    """The pointers of one agent: the node's own, whose PeerId providers of meeting places have."""

    def __init__(
        self,
        *,
        agent: Agent,
        names: Names,
        store: Store,
        clock: WallClock,
        random: Random,
        keep: Keep,
        sources: Sources,
    ) -> None:
        self._signer = agent.signer
        self._issuer = PeerId(agent.id)
        self._names = names
        self._store = store
        self._clock = clock
        self._random = random
        self._keep = keep
        self._sources = sources
        self._sequence = Sequence(store, clock, "directory/seq", per_ms=1, block=1000)
        self._since = 0
        self._checkpoints: dict[RoomId, Cid] = {}
        self._told: dict[Key, _Told | None] = {}
        """None: of an earlier run, and it is not known what was said."""
        self._changed = trio.Event()
        self._settling = trio.Lock()
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Publish until cancelled, or until `say_goodbye`."""
        await self._load()
        with self._scope:
            while True:
                await trio.sleep(DEBOUNCE_S)
                self._changed = trio.Event()
                async with self._settling:
                    await self._settle()
                with trio.move_on_after(LOOK_S):
                    await self._changed.wait()

    def changed(self) -> None:
        """What this node is or has may have changed."""
        self._changed.set()

    def checkpointed(self, room: RoomId, cid: Cid) -> None:
        """There is a new checkpoint of a room's history, which others can fetch here."""
        self._checkpoints[room] = cid
        self.changed()

    def told(self, key: Key) -> bool:
        """Whether this node has told others of a pointer under this key, in this run."""
        return self._told.get(key) is not None

    async def say_goodbye(self) -> None:
        """Take back, for as long as GOODBYE_S, what is of no use when nobody is here: the capabilities, and the offer
        of storage. Rooms and the profile hold, for this node comes back."""
        self._scope.cancel()
        with trio.move_on_after(GOODBYE_S):
            async with self._settling:
                await self._each(key for key in list(self._told) if key.kind in _OF_THE_HOUR)

    # --- what is told, against what there is ------------------------------------------------------------------------

    async def _load(self) -> None:
        await self._sequence.load()
        settings = self._store.settings
        for text in msgspec.json.decode(await settings.get(_TOLD) or "[]", type=list[str]):
            with suppress(ValueError):  # another version had other kinds
                self._told[Key.parse(text)] = None
        since = await settings.get(_SINCE)
        self._since = self._clock() if since is None else int(since)
        if since is None:
            await self._try(partial(settings.set, _SINCE, str(self._since)))

    async def _settle(self) -> None:
        offered = {offer.key: offer for offer in offers(self._issuer, self._sources, self._checkpoints, self._since)}
        self._checkpoints = {room: cid for room, cid in self._checkpoints.items() if self._has_room(offered, room)}
        due = [offer for offer in offered.values() if self._is_due(offer)]
        gone = [key for key in self._told if key not in offered]
        if fresh := dict.fromkeys(offer.key for offer in due if offer.key not in self._told):
            self._told |= fresh
            if not await self._try(self._note):
                # nobody hears of what could not be taken back
                self._told = {key: told for key, told in self._told.items() if key not in fresh}
                return
        await self._each(gone)
        await self._each(due)

    def _has_room(self, offered: dict[Key, Offer], room: RoomId) -> bool:
        return Key("room-pointer", self._issuer, room) in offered

    def _is_due(self, offer: Offer) -> bool:
        told = self._told.get(offer.key)
        now = self._clock()
        # a clock that was set back makes nothing wait for longer than a pointer holds
        waits = told is not None and now < told.due_at <= now + TTL_MS[offer.key.kind]
        return not waits or (told is not None and told.facts != offer.facts)

    async def _each(self, things: Iterable[Offer | Key]) -> None:
        """Publish each offer, take back each key."""
        slots = trio.CapacityLimiter(AT_ONCE)
        took_back: list[Key] = []

        async def one(thing: Offer | Key) -> None:
            async with slots:
                if isinstance(thing, Offer):
                    await self._try(partial(self._publish, thing), thing.key)
                elif await self._try(partial(self._withdraw, thing), thing):
                    took_back.append(thing)

        async with trio.open_nursery() as nursery:
            for thing in things:
                nursery.start_soon(one, thing)
        if took_back:
            for key in took_back:
                del self._told[key]
            await self._try(self._note)

    async def _publish(self, offer: Offer) -> None:
        key, before, now = offer.key, self._told.get(offer.key), self._clock()
        cid, block = self._pointed_to(offer, before, now)
        if block is not None:
            await self._keep(block, str(key))
        took = await self._put(key, partial(envelope.sign, self._signer, key, cid, now=now))
        if before is None and (place := _meeting_place(key)) is not None:
            await self._names.provide(place)  # from here on the DHT does it by itself, also after a restart
        due_at = now + round(TTL_MS[key.kind] * self._random.uniform(*RENEW))
        self._told[key] = _Told(offer.facts, cid, block, due_at)
        say = log.debug if before is not None and before.facts == offer.facts else log.info
        say("published", pointer=str(key), cid=str(cid), peers=len(took))

    @staticmethod
    def _pointed_to(offer: Offer, before: _Told | None, now: int) -> tuple[Cid, Block | None]:
        """The document, the same as before as long as there is nothing new to say."""
        if offer.make is None:
            assert offer.cid is not None
            return offer.cid, None
        if before is not None and before.block is not None and offer.lasting and before.facts == offer.facts:
            return before.cid, before.block
        block = offer.make(now, None if before is None else before.cid)
        return block.cid, block

    async def _withdraw(self, key: Key) -> None:
        if (place := _meeting_place(key)) is not None:
            await self._names.stop_providing(place)
        await self._put(key, partial(envelope.withdraw, self._signer, key, now=self._clock()))
        log.info("withdrawn", pointer=str(key))

    async def _put(self, key: Key, sign: Callable[..., bytes]) -> list[PeerId]:
        """Put it above whatever this issuer said before, wherever that was remembered. Returns who took it: if nobody
        did, the DHT tells it as soon as somebody is there."""
        try:
            return await self._names.put(str(key), sign(seq=await self._sequence.next()))
        except ValueError:
            held = await self._names.get(str(key))
            if held is None:
                raise
            self._sequence.exceed(envelope.read(str(key), held, self._clock()).seq)
            return await self._names.put(str(key), sign(seq=await self._sequence.next()))

    async def _note(self) -> None:
        text = msgspec.json.encode(sorted(map(str, self._told))).decode()
        await self._store.settings.set(_TOLD, text)

    async def _try(self, work: Callable[[], Awaitable[None]], key: Key | None = None) -> bool:
        """Whether it was done. What was not is tried again."""
        try:
            await work()
        except (OSError, HostError, ValueError) as error:
            log.warning("not_published", pointer=str(key or ""), error=str(error))
            return False
        return True


def _meeting_place(key: Key) -> str | None:
    if key.kind in ("room-pointer", "capability-pointer"):
        return str(meeting_place(key.kind, key.name))
    return None
