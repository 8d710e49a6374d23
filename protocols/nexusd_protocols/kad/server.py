"""Answers to others: a function of the question and of what this node keeps (specs/kad.md §3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId, peer_id_bytes
from nexusd_protocols.kad.contact import Contact, Reach, peer_of, place_of, reaching
from nexusd_protocols.kad.keys import check_multihash
from nexusd_protocols.kad.message import Kind, Message, Record
from nexusd_protocols.kad.providers import ProviderEntry, Providers
from nexusd_protocols.kad.records import Records, StoredRecord, ValidUntil
from nexusd_protocols.kad.routing_table import K, RoutingTable

Validate = Callable[[bytes, bytes], None]
"""Raises ValueError if the value must not be stored under the key."""
Select = Callable[[bytes, Sequence[bytes]], int]
"""The index of the best of values that are all valid."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: `reach` and `subnet` are those of the address at which it is connected."""

    peer: PeerId
    reach: Reach
    subnet: str = ""


class Server:
    """`own_value` is this node's own record under a key, `own_contact` where it may be dialled, `connected` where a
    connected peer may be, whether it serves the protocol or not."""

    def __init__(
        self,
        table: RoutingTable,
        records: Records,
        providers: Providers,
        *,
        validate: Validate,
        select: Select,
        own_contact: Callable[[], Contact],
        own_value: Callable[[bytes], bytes | None],
        provides: Callable[[bytes], bool],
        valid_until: ValidUntil = lambda _key, _value: None,
        connected: Callable[[PeerId], Contact | None] = lambda _peer: None,
    ) -> None:
        self._table = table
        self._records = records
        self._providers = providers
        self._validate = validate
        self._select = select
        self._own_contact = own_contact
        self._own_value = own_value
        self._provides = provides
        self._valid_until = valid_until
        self._connected = connected

    def answer(self, asker: Asker, question: Message, now: int) -> Message | None:
        """The answer; None where the protocol has none (ADD_PROVIDER). Raises RemoteProtocolError for what is refused:
        `bad_key`, `bad_record`, `record_refused`, `bad_provider`."""
        match question.kind:
            case Kind.PING:
                return Message(Kind.PING)
            case Kind.FIND_NODE:
                return Message(Kind.FIND_NODE, question.key, closer=self._find_node(asker, _key(question)))
            case Kind.GET_VALUE:
                return self._get_value(asker, _key(question), now)
            case Kind.PUT_VALUE:
                return self._put_value(asker, question, now)
            case Kind.GET_PROVIDERS:
                return self._get_providers(asker, _multihash(question), now)
            case Kind.ADD_PROVIDER:
                self._add_provider(asker, question, now)
                return None

    def value(self, key: bytes, now: int) -> bytes | None:
        """The best value under a key that this node has, its own or another's, and that is valid now."""
        held = [v for v in (self._own(key, now), self._records.get(key, now)) if v is not None]
        return held[self._select(key, held)] if held else None

    def _own(self, key: bytes, now: int) -> bytes | None:
        value = self._own_value(key)
        end = None if value is None else self._valid_until(key, value)
        return value if end is None or now <= end else None

    def providers(self, key: bytes, now: int) -> list[Contact]:
        """Who has what a key names, as far as this node knows; itself first, if it does."""
        own = [self._own_contact()] if self._provides(key) else []
        return [*own, *self._providers.get(key, now)]

    def _find_node(self, asker: Asker, key: bytes) -> tuple[Contact, ...]:
        own = self._own_contact()
        if key == peer_id_bytes(own.peer):
            return self._told(asker, [own])
        closer = self._closer(asker, key)
        try:
            wanted = self._connected(peer_of(key))
        except ValueError:
            return closer
        if wanted is None or wanted.peer == asker.peer:
            return closer
        return (*self._told(asker, [wanted]), *(contact for contact in closer if contact.peer != wanted.peer))

    def _get_value(self, asker: Asker, key: bytes, now: int) -> Message:
        value = self.value(key, now)
        record = None if value is None else Record(key, value, now)
        return Message(Kind.GET_VALUE, key, record, self._closer(asker, key))

    def _put_value(self, asker: Asker, question: Message, now: int) -> Message:
        record = question.record
        if record is None or record.key != question.key:
            raise RemoteProtocolError("bad_record", "the record is not that of the key", penalty=10)
        try:
            self._validate(record.key, record.value)
        except ValueError as error:
            raise RemoteProtocolError("record_refused", str(error), penalty=0) from error
        held = self.value(record.key, now)
        if held is not None and held != record.value and self._select(record.key, [held, record.value]) == 0:
            # the answer says what is kept: the asker sees that it is another
            return replace(question, record=Record(record.key, held, now), closer=(), providers=())
        self._records.put(StoredRecord(record.key, record.value, asker.peer, now))
        return Message(Kind.PUT_VALUE, question.key, record=replace(record, received_at=now))

    def _get_providers(self, asker: Asker, key: bytes, now: int) -> Message:
        held = self.providers(key, now)[: limits.KAD_KEY_PROVIDERS]
        # one without an address may still be known to the asker
        found = tuple(Contact(c.peer, reaching(c.addresses, asker.reach)) for c in held)
        return Message(Kind.GET_PROVIDERS, key, closer=self._closer(asker, key), providers=found)

    def _add_provider(self, asker: Asker, question: Message, now: int) -> None:
        key = _multihash(question)
        told = next((contact for contact in question.providers if contact.peer == asker.peer), None)
        if told is None:
            raise RemoteProtocolError("bad_provider", "a peer announces itself and nobody else", penalty=10)
        fit = reaching(told.addresses, asker.reach)
        self._providers.add(ProviderEntry(key, asker.peer, fit, asker.subnet, now))

    def _closer(self, asker: Asker, key: bytes) -> tuple[Contact, ...]:
        near = self._table.closest(place_of(key), K + 1)
        return self._told(asker, [contact for contact in near if contact.peer != asker.peer][:K])

    def _told(self, asker: Asker, contacts: Iterable[Contact]) -> tuple[Contact, ...]:
        """With those of their addresses that mean something to the asker; who has none is not named."""
        told = (Contact(c.peer, reaching(c.addresses, asker.reach)) for c in contacts)
        return tuple(contact for contact in told if contact.addresses)


def _key(question: Message) -> bytes:
    if not question.key:
        raise RemoteProtocolError("bad_key", "a key has bytes", penalty=1)
    return question.key


def _multihash(question: Message) -> bytes:
    try:
        check_multihash(question.key)
    except ValueError as error:
        raise RemoteProtocolError("bad_key", f"not a multihash: {error}", penalty=1) from error
    return question.key
