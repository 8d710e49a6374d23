"""Kademlia (libp2p specs, kad-dht/README.md) on /nexus/kad/1.1.0, behind a small port.

Stock faults worked round here: `protocol_prefix` does nothing, so the id is set where it is read; `get_value` answers
from a local copy for 24 h, so that copy is put aside first; a server answers 12 requests at once and resets the rest,
so we ask for at most 8; one provider is found up to 19 times.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

import trio
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.kad_dht import common, kad_dht, peer_routing, provider_store, value_store
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.records.utils import InvalidRecordType
from libp2p.records.validator import NamespacedValidator, Validator

from nexusd.host.ports import DeadlineError, HostError, PeerIdentified
from nexusd_protocols.identity import PeerId

_log = logging.getLogger(__name__)

PROTOCOL: Final = "/nexus/kad/1.1.0"
NAMESPACE: Final = "nexus"
QUERIES: Final = 8
QUERY_SECONDS: Final = 30.0
RECORD_BYTES: Final = 64 * 1024
"""A record points to content; it is not the content. Stock code keeps what is over 1 MiB, and no peer takes it."""
KEY_CHARS: Final = 256

Role = Literal["light", "full", "storage"]

T = TypeVar("T")


class RecordSchema(Protocol):
    """What a record under /nexus/ must be."""

    def validate(self, key: str, value: bytes) -> None:
        """Raise ValueError if `value` must not be stored under `key`."""
        ...

    def select(self, key: str, values: Sequence[bytes]) -> int:
        """The index of the best of values that are all valid."""
        ...


class NoRecords:
    """The schema before there are signed envelopes: nothing is a record, so nothing unsigned is stored or believed."""

    def validate(self, key: str, value: bytes) -> None:
        """Refuse."""
        raise ValueError("no record schema is configured")

    def select(self, key: str, values: Sequence[bytes]) -> int:
        """Never asked, since nothing is valid."""
        raise ValueError("no record schema is configured")


@dataclass(frozen=True, slots=True)
class Found:
    """A peer and where it may be dialled (addresses without /p2p)."""

    peer: PeerId
    addresses: tuple[str, ...]


class _Records(Validator):  # type: ignore[misc] # libp2p is not typed
    def __init__(self, schema: RecordSchema) -> None:
        self._schema = schema

    def validate(self, key: str, value: bytes) -> None:
        if len(value) > RECORD_BYTES or len(key) > KEY_CHARS:
            raise ValueError("record too large")
        self._schema.validate(key, value)

    def select(self, key: str, values: list[bytes]) -> int:
        return self._schema.select(key, values)


class Dht:
    """The port. Role light asks and does not serve."""

    def __init__(
        self, host: BasicHost, role: Role, schema: RecordSchema, learned: Callable[[PeerId, Sequence[str]], None]
    ) -> None:
        for module in (common, kad_dht, peer_routing, value_store, provider_store):
            module.PROTOCOL_ID = TProtocol(PROTOCOL)
        self.service = KadDHT(
            host,
            DHTMode.CLIENT if role == "light" else DHTMode.SERVER,
            validator=NamespacedValidator({NAMESPACE: _Records(schema)}, strict_validation=True),
            validator_changed=True,  # else stock code adds namespaces of its own
            strict_validation=True,
        )
        self._learned = learned
        self._queries = trio.CapacityLimiter(QUERIES)

    async def identified(self, said: PeerIdentified) -> None:
        """Take a peer that serves the protocol into the routing table."""
        if PROTOCOL in said.protocols:
            try:
                await self.service.add_peer(ID.from_string(said.peer))
            except Exception as error:
                _log.debug("not added to the routing table: %r", error)

    def forget(self, peer: PeerId) -> None:
        """A peer that does not serve the protocol any more."""
        self.service.routing_table.remove_peer(ID.from_string(peer))

    def size(self) -> int:
        """Peers in the routing table."""
        return int(self.service.get_routing_table_size())

    async def put(self, key: str, value: bytes) -> None:
        """Store a record at the peers closest to its key. Raises ValueError if the schema refuses it or a newer one is
        known, HostError if nobody could be asked."""
        await self._query(self.service.put_value, key, value)

    async def get(self, key: str, *, quorum: int = 2) -> bytes | None:
        """The best record under a key that `quorum` peers (or as many as there are) know, or None."""
        raw = key.encode()
        mine = self.service.value_store.store.pop(raw, None)
        found: bytes | None = None
        try:
            found = await self._query(self.service.get_value, key, quorum)
        finally:
            if mine is not None and found is None:
                self.service.value_store.store[raw] = mine
        if mine is None or found is None:
            return found if mine is None else bytes(mine[0].value)
        best = self.service.validator.select(key, [found, mine[0].value])
        if best == 1:
            self.service.value_store.store[raw] = mine
        return bytes([found, mine[0].value][best])

    async def provide(self, key: str) -> bool:
        """Tell the peers closest to a key (a CID) that this node has what it names. Whether any peer took it."""
        return bool(await self._query(self.service.provide, key))

    async def find_providers(self, key: str, count: int = 20) -> list[Found]:
        """Peers that said they have what a key names."""
        found: dict[PeerId, list[Any]] = {}
        for info in await self._query(self.service.find_providers, key, count):
            found.setdefault(PeerId(str(info.peer_id)), []).extend(info.addrs)
        return [self._learn(peer, addresses) for peer, addresses in found.items()]

    async def find_peer(self, peer: PeerId) -> Found | None:
        """Where a peer may be dialled, or None."""
        info = await self._query(self.service.find_peer, ID.from_string(peer))
        return None if info is None else self._learn(peer, info.addrs)

    def _learn(self, peer: PeerId, addresses: Sequence[Any]) -> Found:
        found = Found(peer, tuple(dict.fromkeys(str(a).removesuffix(f"/p2p/{peer}") for a in addresses)))
        self._learned(peer, found.addresses)
        return found

    async def _query(self, ask: Callable[..., Awaitable[T]], *args: object) -> T:
        try:
            async with self._queries:
                with trio.fail_after(QUERY_SECONDS):
                    return await ask(*args)
        except trio.TooSlowError as error:
            raise DeadlineError("The DHT did not answer in time") from error
        except (ValueError, InvalidRecordType) as error:
            raise ValueError(str(error)) from error
        except Exception as error:
            raise HostError(f"The DHT failed: {error!r}") from error
