"""Peers on the local network, by multicast DNS (libp2p specs, discovery/mdns.md; RFC 6762).

    zeroconf's thread: packets -> TXT records -> Inbox      Trio: Inbox -> candidates -> found
    Trio: query every few seconds -> Responder -> zeroconf's thread

The service is `_p2p._udp.local.`; each peer answers under a name of its own with TXT strings
`dnsaddr=<multiaddr>/p2p/<peer id>`. Only these strings are read: js-libp2p sends PTR and TXT records and no SRV, so
zeroconf's own way of resolving a service, which asks for SRV, finds none of its peers.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import structlog
import trio
from zeroconf import DNSOutgoing, DNSQuestion, RecordUpdateListener, ServiceInfo
from zeroconf.const import _CLASS_IN, _FLAGS_QR_QUERY, _TYPE_PTR, _TYPE_TXT

from nexusd_bootstrap.candidate import ADDRESS_CHARS, ADDRESSES, Candidate, candidates
from nexusd_bootstrap.responder import Responder
from nexusd_protocols.identity import PeerId

log = structlog.get_logger(__name__)

SERVICE: Final = "_p2p._udp.local."
INTERVALS_S: Final = (1.0, 2.0, 4.0, 8.0)
"""Pauses between the first queries (RFC 6762 §5.2: at least a second, and growing)."""
INTERVAL_S: Final = 10.0
"""The pause between later queries, as js-libp2p has it: a peer that starts or comes back is found in this time."""
INBOX: Final = 256
"""Packets with addresses that wait for Trio. What comes while it is full is lost: the next query brings it again."""
RESCAN_EVERY: Final = 6
"""Queries between two looks at the interfaces: a laptop that changes its network is found again in a minute."""
SHUTDOWN_S: Final = 1.0
"""Saying goodbye takes zeroconf 0.3 s, behind an announcement of 0.5 s that is under way; a daemon must not wait longer
than this for a courtesy."""

TXT_BYTES: Final = 1200
"""Announced addresses: with the rest of the answer they fit one Ethernet frame (RFC 6762 §17)."""
_PORT: Final = 4001
_DNSADDR: Final = b"dnsaddr="


def dnsaddrs(text: bytes) -> list[str]:
    """The addresses in the data of a TXT record (RFC 1035 §3.3.14: strings after a byte of length each). At most
    `ADDRESSES` of them; whatever else is in there is skipped."""
    found: list[str] = []
    at = 0
    while at < len(text) and len(found) < ADDRESSES:
        end = at + 1 + text[at]
        string = text[at + 1 : end]
        at = end
        if at <= len(text) and string.startswith(_DNSADDR) and string.isascii():
            found.append(string.removeprefix(_DNSADDR).decode())
    return found


def txt_data(addresses: Sequence[str]) -> bytes:
    """The inverse: TXT data that announces as many of the addresses as fit, in their order."""
    data = b""
    for address in addresses:
        string = _DNSADDR + address.encode()
        if len(string) <= ADDRESS_CHARS and len(data) + 1 + len(string) <= TXT_BYTES:
            data += bytes([len(string)]) + string
    return data


class Inbox(RecordUpdateListener):  # type: ignore[misc]  # zeroconf's types stop at this module
    """Takes the addresses out of answers in zeroconf's thread, for Trio to fetch."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake
        # append and popleft are atomic, and a full deque drops the oldest
        self._waiting: deque[list[str]] = deque(maxlen=INBOX)

    def async_update_records(self, zc: Any, now: float, records: list[Any]) -> None:
        """Called by zeroconf in its thread with the records of one packet."""
        found = [
            text
            for record in records
            if record.new.type == _TYPE_TXT and record.new.ttl > 0 and record.new.name.lower().endswith(SERVICE)
            for text in dnsaddrs(record.new.text)
        ]
        if found:
            # one packet speaks for one peer, so more addresses than a peer has are noise
            self._waiting.append(found[:ADDRESSES])
            self._wake()

    def async_update_records_complete(self) -> None:
        """Called by zeroconf when its cache took the records; nothing here reads the cache."""

    def take(self) -> Iterator[list[str]]:
        """What has come since, a list for each packet."""
        while self._waiting:
            yield self._waiting.popleft()


class Mdns:
    """Announces this node on the local network and finds others."""

    name: Final = "mdns"

    def __init__(
        self,
        own: PeerId,
        addresses: Callable[[], Sequence[str]],
        *,
        interfaces: Sequence[str] | None = None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """`addresses` gives this node's current multiaddrs, each ending in /p2p/<peer id>. `interfaces` are the IP
        addresses of the interfaces to use, such as `["127.0.0.1"]`; None means all of them, also later ones."""
        self._own = own
        self._addresses = addresses
        self._interfaces = interfaces
        self._interval_s = interval_s
        # a random name, as the spec has it: by itself it says nothing about who is there
        self._service = f"{secrets.token_hex(16)}.{SERVICE}"
        self._announced: tuple[str, ...] = ()
        self._found: set[PeerId] = set()
        self._heard_self = False
        self._running = False

    def describe(self) -> str:
        """See `Source.describe`. Multicast works where the node hears its own announcement."""
        if not self._running:
            return "not running"
        if not self._announced:
            return "looking; no address to announce"
        heard = "announced" if self._heard_self else "announced, but nothing came back: is multicast blocked?"
        return f"{heard}; peers found: {len(self._found)}"

    @property
    def heard_self(self) -> bool:
        """Whether our own announcement came back, which shows that multicast works on this host."""
        return self._heard_self

    async def run(
        self,
        found: trio.MemorySendChannel[Candidate],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """See `Source.run`. Raises OSError or RuntimeError where no multicast socket can be opened."""
        self._announced, self._heard_self = (), False
        send_wake, wake = trio.open_memory_channel[None](1)
        token = trio.lowlevel.current_trio_token()

        def arrived() -> None:
            with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
                send_wake.send_nowait(None)

        def call_trio() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(arrived, idempotent=True)

        inbox = Inbox(call_trio)
        responder = Responder(self._interfaces)
        try:
            await responder.open(inbox)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask, responder)
                self._running = True
                task_status.started()
                async for _ in wake:
                    for texts in inbox.take():
                        await self._offer(texts, found)
        finally:
            self._running = False
            with trio.move_on_after(SHUTDOWN_S, shield=True):
                await responder.close()

    async def _offer(self, texts: list[str], found: trio.MemorySendChannel[Candidate]) -> None:
        for candidate in candidates(texts, self.name):
            if candidate.peer == self._own:
                self._heard_self = True
                continue
            if len(self._found) < INBOX:
                self._found.add(candidate.peer)
            await found.send(candidate)

    async def _ask(self, responder: Responder) -> None:
        """Announce and query, again and again: multicast loses packets, and peers come and go."""
        for count, pause in enumerate(itertools.chain(INTERVALS_S, itertools.repeat(self._interval_s)), 1):
            await self._announce(responder)
            query = DNSOutgoing(_FLAGS_QR_QUERY)
            query.add_question(DNSQuestion(SERVICE, _TYPE_PTR, _CLASS_IN))
            responder.send(query)
            await trio.sleep(pause)
            if self._interfaces is None and count % RESCAN_EVERY == 0:
                await responder.rescan()

    async def _announce(self, responder: Responder) -> None:
        """Register our addresses, for queries to be answered; again when they have changed."""
        addresses = announced(self._addresses())
        if addresses == self._announced:
            return
        data = txt_data(addresses)
        if not data:
            return
        info = ServiceInfo(
            # nobody reads the port, yet a service has one
            SERVICE,
            self._service,
            port=_PORT,
            properties=data,
            server=f"{self._service.partition('.')[0]}.local.",
        )
        register = responder.update if self._announced else responder.register
        self._announced = addresses  # the first announcement goes out long before this returns
        await register(info)


def announced(addresses: Sequence[str]) -> tuple[str, ...]:
    """The addresses worth announcing: those of loopback only where there are no others."""
    reachable = tuple(a for a in addresses if not a.startswith(("/ip4/127.", "/ip6/::1/")))
    return reachable or tuple(addresses)
