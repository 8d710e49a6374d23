"""What others published: their pointers, verified, and the documents behind them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

import structlog
import trio

from nexusd.host.ports import HostError
from nexusd.services.directory.ports import Fetch, Names
from nexusd.services.ports import WallClock
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pointer import documents, envelope
from nexusd_protocols.pointer.documents import DocumentError, DocumentT
from nexusd_protocols.pointer.envelope import Pointer, PointerError
from nexusd_protocols.pointer.keys import Key, meeting_place
from nexusd_protocols.rpc.schema import FoundPointer

log = structlog.get_logger(__name__)

FETCH_S: Final = 8.0
"""For one document: whoever has it sends it in one block, or is left out."""
CANDIDATES: Final = 40
"""Issuers looked at for one request, as many as a node keeps for one key: who has no pointer must not crowd out who has
one."""
LOOKUPS: Final = 16
"""Issuers looked at at once for one request."""
FIND_S: Final = 25.0
"""For one request: what was found by then is the answer."""

T = TypeVar("T")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Published(Generic[T]):
    """What an issuer published under a key. Without a `pointer` nothing, or nothing that verifies; `withdrawn` if it
    said that itself. Without a `document`, `missing` says why."""

    pointer: Pointer | None = None
    document: T | None = None
    withdrawn: bool = False
    missing: str = ""

    @property
    def shown(self) -> FoundPointer | None:
        """The pointer, as the doors show it."""
        return None if self.pointer is None else shown(self.pointer)


class Finder:
    """Asks the DHT for pointers and peers for documents."""

    def __init__(self, *, names: Names, fetch: Fetch, clock: WallClock) -> None:
        self._names = names
        self._fetch = fetch
        self._clock = clock

    async def pointer(self, key: Key) -> Published[object]:
        """The newest pointer under a key. Raises HostError if nobody could be asked."""
        value = await self._names.get(str(key))
        if value is None:
            return Published(missing="nothing is published")
        try:
            pointer = envelope.read(str(key), value, self._clock())
        except PointerError as error:
            return Published(missing=str(error))
        if pointer.withdrawn:
            return Published(withdrawn=True, missing="it was withdrawn")
        return Published(pointer)

    async def look_up(self, shape: type[DocumentT], key: Key, peers: Sequence[PeerId] = ()) -> Published[DocumentT]:
        """The newest pointer under a key, and its document. Raises HostError as `pointer`."""
        found = await self.pointer(key)
        if found.pointer is None:
            return Published(withdrawn=found.withdrawn, missing=found.missing)
        return await self.document(shape, found.pointer, peers)

    async def document(self, shape: type[DocumentT], pointer: Pointer, peers: Sequence[PeerId]) -> Published[DocumentT]:
        """The document that a pointer leads to. `peers` may have it, beside its issuer."""
        key = pointer.key
        try:
            with trio.fail_after(FETCH_S):
                data = await self._fetch(pointer.cid, list(dict.fromkeys((key.issuer, *peers))))
            if not pointer.cid.verifies(data):
                raise DocumentError("bad_document", "other bytes than the pointer's CID names")
            return Published(pointer, documents.read(shape, key, data))
        except trio.TooSlowError:
            missing = "what it points to did not come in time"
        except (HostError, OSError) as error:  # nobody has it; or it has no room here
            missing = f"what it points to could not be fetched: {error}"
        except DocumentError as error:
            missing = f"what it points to is refused: {error}"
        log.debug("document_missing", pointer=str(key), reason=missing)
        return Published(pointer, missing=missing)

    async def issuers(self, kind: Literal["room-pointer", "capability-pointer"], name: str) -> list[PeerId]:
        """Peers that say they have a pointer of this kind and name. Raises HostError if nobody could be asked."""
        return [found.peer for found in await self._names.find_providers(str(meeting_place(kind, name)), CANDIDATES)]


async def of_each(
    issuers: Iterable[PeerId], look: Callable[[PeerId], Awaitable[ResultT]], seconds: float = FIND_S
) -> dict[PeerId, ResultT]:
    """Look at several issuers at once. Who took too long, or could not be asked about, is not in the answer."""
    found: dict[PeerId, ResultT] = {}
    slots = trio.CapacityLimiter(LOOKUPS)

    async def one(issuer: PeerId) -> None:
        async with slots:
            try:
                found[issuer] = await look(issuer)
            except HostError as error:
                log.debug("issuer_not_looked_at", issuer=issuer, reason=str(error))

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for issuer in dict.fromkeys(issuers):
                nursery.start_soon(one, issuer)
    return found


def shown(pointer: Pointer) -> FoundPointer:
    """A pointer, as the doors show it."""
    return FoundPointer(
        cid=str(pointer.cid), seq=pointer.seq, issued_at=pointer.issued_at, expires_at=pointer.expires_at
    )
