"""The port: put and get records, provide and find providers, find peers."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import Final

import trio

from nexusd.host.dht.addresses import place_of_connection, to_bytes, to_text
from nexusd.host.dht.ports import NAMESPACE, PROTOCOL, Found, NoShelf, RecordSchema, Role, Shelf
from nexusd.host.dht.requester import Requester
from nexusd.host.dht.search import search
from nexusd.host.dht.serving import Serving
from nexusd.host.dht.upkeep import Upkeep
from nexusd.host.ports import ConnectionLostError, DeadlineError, HostError, PeerIdentified, Streams
from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId, peer_id_bytes
from nexusd_protocols.kad.contact import Contact, Reach, place_of, place_of_peer, reaching
from nexusd_protocols.kad.keys import content_key, record_key
from nexusd_protocols.kad.lookup import Lookup
from nexusd_protocols.kad.message import Kind, Message, MessageStream, Record
from nexusd_protocols.kad.providers import Providers
from nexusd_protocols.kad.records import Records
from nexusd_protocols.kad.renewals import Renewal, Renewals
from nexusd_protocols.kad.routing_table import RoutingTable
from nexusd_protocols.kad.server import Asker, Server

_log = logging.getLogger(__name__)

QUERIES: Final = 8
"""Lookups at once; each asks three peers at a time."""
TELLING: Final = 10
"""Peers told of a record at once."""
WITNESSES: Final = 3
"""Peers that must have named providers before a search for them may end early, so that one cannot name them all."""


class Dht:
    """One node's part in the DHT. Role light asks and does not serve.

    `connect` has a connection to a peer, `remote` gives the address at which one is connected (empty if it is not),
    `addresses` are this node's own, `learned` hears where peers are that were looked for. `clock` gives unix
    milliseconds.
    """

    def __init__(
        self,
        own: PeerId,
        role: Role,
        schema: RecordSchema,
        *,
        streams: Streams,
        connect: Callable[[PeerId, Sequence[str]], Awaitable[None]],
        remote: Callable[[PeerId], str],
        addresses: Callable[[], Sequence[str]],
        learned: Callable[[PeerId, Sequence[str]], None],
        charge: Callable[[PeerId, str, int], None],
        clock: Callable[[], int],
        shelf: Shelf | None = None,
        random: Random | None = None,
    ) -> None:
        random = random or Random(secrets.randbits(64))  # noqa: S311 - jitter, and keys to refresh buckets by
        self._own = own
        self._schema = schema
        self._remote = remote
        self._learned = learned
        self._addresses = addresses
        self._now = clock
        self._said: dict[PeerId, Contact] = {}
        self._table = RoutingTable(own)
        self._records = Records(own, valid_until=self._valid_until)
        self._providers = Providers()
        self._renewals = Renewals(random.random)
        self._server = Server(
            self._table,
            self._records,
            self._providers,
            validate=self._validate,
            select=self._select,
            own_contact=self._own_contact,
            own_value=self._renewals.value,
            provides=self._renewals.provides,
            valid_until=self._valid_until,
            connected=self._said.get,
        )
        self._requester = Requester(streams, connect, lambda peer: bool(remote(peer)), random)
        self._queries = trio.CapacityLimiter(QUERIES)
        self._upkeep = Upkeep(
            self._table,
            self._records,
            self._providers,
            self._renewals,
            shelf or NoShelf(),
            tell=self._tell,
            look=self._look,
            online=lambda: any(peer in self._table for peer in self._said),
            valid_until=self._valid_until,
            clock=clock,
            entropy=random.randbytes,
        )
        if role != "light":
            serving = Serving(self._server, self._asker, charge, clock)
            streams.handle(PROTOCOL, lambda _peer: MessageStream(), serving.serve)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take in what was kept, then keep the table fresh and what is ours told. Runs until it is cancelled."""
        await self._upkeep.run(task_status=task_status)

    async def flush(self) -> None:
        """Keep now what has changed: before the end."""
        await self._upkeep.flush()

    async def identified(self, said: PeerIdentified) -> None:
        """Take a peer that serves the protocol into the routing table, once it answers."""
        how, _ = self._place(said.peer)
        contact = Contact(said.peer, reaching(to_bytes(said.listen_addresses, said.peer), how))
        self._said[said.peer] = contact
        if PROTOCOL not in said.protocols:
            self._table.remove(said.peer)
            return
        if not self._remote(said.peer):
            return  # gone again, and not to be dialled for this
        try:
            await self._ask(contact, Message(Kind.PING))
        except HostError as error:
            _log.debug("%s does not answer: %s", said.peer, error)

    def left(self, peer: PeerId) -> None:
        """The last connection to a peer is gone. It stays in the table: it may be dialled again."""
        self._said.pop(peer, None)

    def forget(self, peer: PeerId) -> None:
        """Do not dial a peer of our own accord: somebody wanted it disconnected."""
        self._table.remove(peer)

    def size(self) -> int:
        """Peers in the routing table."""
        return len(self._table)

    def stored(self) -> tuple[int, int]:
        """Records and provider entries that are kept for others."""
        return len(self._records), len(self._providers)

    # --- records ----------------------------------------------------------------------------------------------------

    async def put(self, key: str, value: bytes) -> list[PeerId]:
        """Store a record at the peers closest to its key, and tell it again in time until `withdraw`. Returns those
        that said they keep it; if nobody did, it is told as soon as somebody is there. Raises ValueError if the schema
        refuses it, it is too large, or a newer one is known."""
        raw = record_key(key, NAMESPACE)
        if len(value) > limits.KAD_RECORD_BYTES:
            raise ValueError(f"A record has at most {limits.KAD_RECORD_BYTES} bytes")
        self._schema.validate(key, value)
        held = self._server.value(raw, self._now())
        if held is not None and held != value and self._select(raw, [held, value]) == 0:
            raise ValueError("A newer record is known")
        renewal = await self._upkeep.keep(self._renewals.put("record", raw, value, self._now()))
        return await self._upkeep.tell(renewal)

    async def withdraw(self, key: str) -> bool:
        """Tell of a record no more. Others keep it until it is too old. Whether it was told of."""
        return await self._upkeep.drop("record", record_key(key, NAMESPACE))

    async def get(self, key: str, *, quorum: int = 0) -> bytes | None:
        """The best record under a key, or None if nobody has one. The closest peers are all asked; with a quorum, only
        until so many of them gave the same best, which may be an older one than others have. Peers found with an older
        record, or none, are given the best. Raises HostError if nobody could be asked and none is here."""
        raw = record_key(key, NAMESPACE)
        best = self._server.value(raw, self._now())
        holders: set[PeerId] = set()

        def answered(contact: Contact, answer: Message) -> bool:
            nonlocal best
            value = answer.record.value if answer.record is not None and answer.record.key == raw else None
            if value is None or not self._valid(raw, value):
                return False
            if best is None or (value != best and self._select(raw, [best, value]) == 1):
                best = value
                holders.clear()
            if value == best:
                holders.add(contact.peer)
            return 0 < quorum <= len(holders)

        closest = await self._search(place_of(raw), Message(Kind.GET_VALUE, raw), answered)
        if best is None:
            if not closest:
                raise HostError("No peer of the DHT could be asked")
            return None
        missing = [contact for contact in closest if contact.peer not in holders]
        self._upkeep.spawn(partial(self._give, missing, Record(raw, best, self._now())))
        return best

    # --- providers --------------------------------------------------------------------------------------------------

    async def provide(self, cid: str) -> list[PeerId]:
        """Tell the peers closest to a CID that this node has what it names, and again in time until `stop_providing`.
        Returns those that took it; if nobody did, it is told as soon as somebody is there. Raises ValueError for what
        is not a CID."""
        renewal = self._renewals.put("provider", content_key(cid), b"", self._now())
        return await self._upkeep.tell(await self._upkeep.keep(renewal))

    async def stop_providing(self, cid: str) -> bool:
        """Tell of it no more. Others keep it until it is too old. Whether it was told of."""
        return await self._upkeep.drop("provider", content_key(cid))

    async def find_providers(self, cid: str, count: int = 20) -> list[Found]:
        """Peers that said they have what a CID names, each once, at most `count`. Whoever was asked may have made them
        up, so several are asked and each contributes its share."""
        raw = content_key(cid)
        named: dict[PeerId, list[Contact]] = {self._own: self._server.providers(raw, self._now())}

        def answered(contact: Contact, answer: Message) -> bool:
            usable = [self._usable(contact.peer, provider, all_of=True) for provider in answer.providers]
            if found := [provider for provider in usable if provider is not None]:
                named[contact.peer] = found
            return len(named) > WITNESSES and len({p.peer for some in named.values() for p in some}) >= count

        await self._search(place_of(raw), Message(Kind.GET_PROVIDERS, raw), answered)
        found = _in_turn(list(named.values()), count)
        return [self._learn(contact) for contact in found if contact.peer != self._own]

    # --- peers ------------------------------------------------------------------------------------------------------

    async def find_peer(self, peer: PeerId) -> Found | None:
        """Where a peer may be dialled, or None if nobody knows. The word of others: only a dial proves it."""
        if peer == self._own:
            return None
        raw = peer_id_bytes(peer)
        known = self._table.get(peer) or self._said.get(peer)
        if known is not None and known.addresses:
            return self._learn(known)
        addresses: dict[bytes, None] = {}

        def answered(contact: Contact, answer: Message) -> bool:
            for named in answer.closer:
                usable = self._usable(contact.peer, named) if named.peer == peer else None
                addresses.update(dict.fromkeys(usable.addresses if usable else ()))
            return contact.peer == peer and bool(addresses)

        await self._search(place_of_peer(peer), Message(Kind.FIND_NODE, raw), answered)
        if not addresses:
            return None
        return self._learn(Contact(peer, tuple(addresses)[: limits.KAD_ADDRESSES]))

    # --- asking -----------------------------------------------------------------------------------------------------

    async def _search(
        self, place: int, question: Message, answered: Callable[[Contact, Message], bool] = lambda _who, _what: False
    ) -> list[Contact]:
        """Ask on the way to a place in the key space. Returns those closest to it that answered."""

        def took(contact: Contact, answer: Message) -> bool:
            self._alive(contact)
            return answered(contact, answer)

        async with self._queries:
            lookup = Lookup(place, self._table.closest(place), own=self._own, usable=self._usable)
            await search(lookup, question, self._requester, answered=took, failed=self._dead)
            self._table.refreshed(place, self._now())
            return lookup.closest()

    async def _look(self, key: bytes) -> None:
        """Look up a key for the sake of the table."""
        await self._search(place_of(key), Message(Kind.FIND_NODE, key))

    async def _ask(self, contact: Contact, question: Message) -> Message | None:
        """One question, whose outcome the table learns. Raises HostError."""
        try:
            answer = await self._requester.ask(contact, question)
        except HostError as error:
            self._dead(contact, error)
            raise
        self._alive(contact)
        return answer

    async def _tell(self, renewal: Renewal) -> list[PeerId] | None:
        """Tell what is ours to those closest to it. Returns who took it, or None if somebody has a better record."""
        closest = await self._search(place_of(renewal.key), Message(Kind.FIND_NODE, renewal.key))
        if renewal.sort == "record":
            return await self._give(closest, Record(renewal.key, renewal.value, self._now()))
        return await self._each(closest, self._announce_to(renewal.key))

    async def _give(self, contacts: Sequence[Contact], record: Record) -> list[PeerId] | None:
        """Have peers keep a record. Returns who says so, or None if one of them has a better one."""
        better = False

        async def give(contact: Contact) -> bool:
            nonlocal better
            answer = await self._ask(contact, Message(Kind.PUT_VALUE, record.key, record))
            kept = answer.record if answer is not None else None
            if kept is None or kept.key != record.key:
                return False
            if kept.value != record.value and self._valid(record.key, kept.value):
                better = better or self._select(record.key, [record.value, kept.value]) == 1
            return kept.value == record.value

        took = await self._each(contacts, give)
        return None if better else took

    def _announce_to(self, key: bytes) -> Callable[[Contact], Awaitable[bool]]:
        async def announce(contact: Contact) -> bool:
            own = self._own_contact()
            told = Contact(own.peer, reaching(own.addresses, self._place(contact.peer)[0]))
            await self._ask(contact, Message(Kind.ADD_PROVIDER, key, providers=(told,)))
            return True

        return announce

    async def _each(self, contacts: Sequence[Contact], ask: Callable[[Contact], Awaitable[bool]]) -> list[PeerId]:
        """Ask several at once. Returns those that said yes."""
        took: list[PeerId] = []
        at_once = trio.CapacityLimiter(TELLING)

        async def one(contact: Contact) -> None:
            async with at_once:
                try:
                    if await ask(contact):
                        took.append(contact.peer)
                except HostError as error:
                    _log.debug("%s does not take it: %s", contact.peer, error)

        async with trio.open_nursery() as nursery:
            for contact in contacts:
                nursery.start_soon(one, contact)
        return took

    # --- what is known of peers -------------------------------------------------------------------------------------

    def _alive(self, contact: Contact) -> None:
        """A peer answered: it serves the protocol."""
        how, subnet = self._place(contact.peer)
        said = self._said.get(contact.peer)
        # what it says of itself, else where it was found
        known = said if said is not None and said.addresses else Contact(contact.peer, reaching(contact.addresses, how))
        news = contact.peer not in self._table
        doubtful = self._table.add(known, subnet, self._now())
        if news and contact.peer in self._table:
            self._upkeep.newcomer()
        if doubtful is not None:
            self._upkeep.spawn(partial(self._check, doubtful))

    def _dead(self, contact: Contact, error: HostError | None) -> None:
        if error is None or isinstance(error, (DeadlineError, ConnectionLostError)):
            self._table.late(contact.peer)
        else:
            self._table.remove(contact.peer)

    async def _check(self, peer: PeerId) -> None:
        """Is a peer of the table still there? A newcomer waits for its place."""
        contact = self._table.get(peer)
        if contact is not None:
            try:
                await self._ask(contact, Message(Kind.PING))
            except HostError:
                self._table.remove(peer)

    def _usable(self, teller: PeerId, contact: Contact, *, all_of: bool = False) -> Contact | None:
        """What may be believed of a contact that a peer named: addresses that mean something from where it is. None if
        there is no way to reach it, unless `all_of` are wanted."""
        addresses = reaching(contact.addresses, self._place(teller)[0])
        if addresses or all_of or contact.peer in self._said:
            return Contact(contact.peer, addresses)
        return None

    def _place(self, peer: PeerId) -> tuple[Reach, str]:
        return place_of_connection(self._remote(peer))

    def _asker(self, peer: PeerId) -> Asker:
        return Asker(peer, *self._place(peer))

    def _own_contact(self) -> Contact:
        return Contact(self._own, to_bytes(self._addresses(), self._own))

    def _learn(self, contact: Contact) -> Found:
        found = Found(contact.peer, to_text(contact.addresses, contact.peer))
        self._learned(contact.peer, found.addresses)
        return found

    # --- the schema, by bytes ---------------------------------------------------------------------------------------

    def _validate(self, key: bytes, value: bytes) -> None:
        text = key.decode()
        record_key(text, NAMESPACE)
        self._schema.validate(text, value)

    def _valid(self, key: bytes, value: bytes) -> bool:
        try:
            self._validate(key, value)
        except ValueError as error:
            _log.debug("a record that is none: %s", error)
            return False
        return True

    def _select(self, key: bytes, values: Sequence[bytes]) -> int:
        return self._schema.select(key.decode(), values) if len(values) > 1 else 0

    def _valid_until(self, key: bytes, value: bytes) -> int | None:
        return self._schema.valid_until(key.decode(), value)


def _in_turn(named: Sequence[Sequence[Contact]], count: int) -> list[Contact]:
    """One of each teller's, then the next of each, until there are enough; each peer once, with all its addresses."""
    found: dict[PeerId, dict[bytes, None]] = {}
    for turn in range(max(map(len, named), default=0)):
        for contacts in named:
            if turn < len(contacts):
                contact = contacts[turn]
                if contact.peer in found or len(found) < count:
                    found.setdefault(contact.peer, {}).update(dict.fromkeys(contact.addresses))
    return [Contact(peer, tuple(addresses)[: limits.KAD_ADDRESSES]) for peer, addresses in found.items()]
