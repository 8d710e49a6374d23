"""Serving blocks to others. (specs/bitswap.md §3)

    Heard(wants) -> Look -> Sized -> Fetch -> Fetched -> Send -> Sent -> Look …

Each peer has one message under way and no more: its next wants are looked up when the transport has taken the last
answer, and its blocks are read when there is room for them. So a peer that reads slowly holds one message in memory and
holds up nobody; those who want much take turns with those who want little.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from nexusd_protocols import limits
from nexusd_protocols.bitswap.events import (
    Arrived,
    Fetch,
    Fetched,
    Heard,
    Left,
    Look,
    Send,
    Sent,
    ServerInput,
    ServerOutput,
    Sized,
)
from nexusd_protocols.bitswap.ledger import Ledger, Wanted
from nexusd_protocols.bitswap.message import Kind, Message, Payload
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId


class _Stage(Enum):
    RESTING = auto()
    LOOKING = auto()
    QUEUEING = auto()
    FETCHING = auto()
    SENDING = auto()


@dataclass(slots=True)
class _Peer:
    """One that wants something. `taken` are the wants of this turn, `need` the bytes of their blocks: those count while
    it is fetching and sending."""

    id: PeerId
    ledger: Ledger = field(default_factory=Ledger)
    stage: _Stage = _Stage.RESTING
    taken: list[Wanted] = field(default_factory=list)
    need: int = 0
    haves: list[Cid] = field(default_factory=list)
    lacks: list[Cid] = field(default_factory=list)
    foreign: tuple[bytes, ...] = ()


class Server:
    """One node's. What it holds is bounded by `limits`."""

    def __init__(
        self,
        *,
        sending_bytes: int = limits.BITSWAP_SENDING_BYTES,
        wants: int = limits.BITSWAP_WANTS,
        peer_wants: int = limits.BITSWAP_PEER_WANTS,
    ) -> None:
        self._sending_bytes = sending_bytes
        self._most_wants = wants
        self._peer_wants = peer_wants
        self._peers: dict[PeerId, _Peer] = {}
        self._queue: deque[_Peer] = deque()
        self._held = 0
        self._out: list[ServerOutput] = []

    def handle(self, event: ServerInput, now: float) -> list[ServerOutput]:
        """Take one input; give what is to be done for it, in order. For each peer at most one output waits for its
        answer. Answers that come after the peer left are ignored."""
        match event:
            case Heard(peer, message):
                self._heard(peer, message, now)
            case Sized(peer, sizes):
                if (known := self._at(peer, _Stage.LOOKING)) is not None:
                    self._sized(known, sizes, now)
            case Fetched(peer, data):
                if (known := self._at(peer, _Stage.FETCHING)) is not None:
                    self._fetched(known, data, now)
            case Sent(peer):
                if (known := self._at(peer, _Stage.SENDING)) is not None:
                    self._rest(known)
                    self._turn(known)
            case Arrived(cids):
                self._arrived(cids, now)
            case Left(peer):
                if (gone := self._peers.pop(peer, None)) is not None:
                    self._rest(gone)
        self._admit()
        out, self._out = self._out, []
        return out

    # --- what is so, for metrics and tests ------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Bytes of blocks that are being read or sent."""
        return self._held

    @property
    def wants(self) -> int:
        """Wants of all peers."""
        return sum(len(peer.ledger) for peer in self._peers.values())

    # --- inputs ---------------------------------------------------------------------------------------------------

    def _at(self, peer: PeerId, stage: _Stage) -> _Peer | None:
        known = self._peers.get(peer)
        return known if known is not None and known.stage is stage else None

    def _heard(self, peer: PeerId, message: Message, now: float) -> None:
        known = self._peers.get(peer)
        if known is None:
            if not message.wants and not message.foreign:
                return
            known = self._peers[peer] = _Peer(peer)
        known.ledger.update(message, self._most(known), now)
        self._turn(known)

    def _most(self, peer: _Peer) -> int:
        """Wants that a peer may have: where all are short of room, its share."""
        left = self._most_wants - self.wants + len(peer.ledger)
        return min(self._peer_wants, max(left, self._most_wants // len(self._peers)))

    def _turn(self, peer: _Peer) -> None:
        """Begin with what is most urgent, if there is something and the peer has nothing under way."""
        if peer.stage is not _Stage.RESTING:
            return
        if not peer.ledger.waiting:
            if not len(peer.ledger):
                self._peers.pop(peer.id, None)
            return
        peer.foreign = peer.ledger.refused(limits.BITSWAP_TURN_WANTS)
        peer.taken = peer.ledger.take(limits.BITSWAP_TURN_WANTS)
        if peer.taken:
            peer.stage = _Stage.LOOKING
            self._out.append(Look(peer.id, tuple(wanted.cid for wanted in peer.taken)))
        else:
            self._send(peer, ())

    def _sized(self, peer: _Peer, sizes: tuple[int | None, ...], now: float) -> None:
        blocks: list[Wanted] = []
        for wanted, size in zip(peer.taken, sizes, strict=True):
            if not wanted.live:
                continue
            if size is None or size > limits.BLOCK_BYTES:
                self._lack(peer, wanted, now)
            elif wanted.kind is Kind.HAVE and size > limits.BITSWAP_SMALL_BYTES:
                peer.haves.append(wanted.cid)
                peer.ledger.done(wanted)
            elif blocks and peer.need + size > limits.BITSWAP_TURN_BYTES:
                peer.ledger.back(wanted)
            else:
                blocks.append(wanted)
                peer.need += size
        peer.taken = blocks
        if blocks:
            peer.stage = _Stage.QUEUEING
            self._queue.append(peer)
        else:
            self._send(peer, ())

    def _admit(self) -> None:
        """Let those read for whom there is room, in the order in which they came. Where there is none a block of the
        usual size passes all the same: slow readers must not stop those who read."""
        full = False
        for _ in range(len(self._queue)):
            peer = self._queue.popleft()
            if peer.stage is not _Stage.QUEUEING:
                continue
            fits = not full and (self._held + peer.need <= self._sending_bytes or not self._held)
            if fits or peer.need <= self._sending_bytes // len(self._peers):
                peer.stage = _Stage.FETCHING
                self._held += peer.need
                self._out.append(Fetch(peer.id, tuple(wanted.cid for wanted in peer.taken)))
            else:
                # whoever needs much is not overtaken for ever by those who need little
                full = True
                self._queue.append(peer)

    def _fetched(self, peer: _Peer, data: tuple[bytes | None, ...], now: float) -> None:
        blocks = []
        for wanted, read in zip(peer.taken, data, strict=True):
            if not wanted.live:
                continue
            if read is None:
                self._lack(peer, wanted, now)
            else:
                blocks.append(Payload(wanted.cid, read))
                peer.ledger.done(wanted)
        self._send(peer, blocks)

    def _lack(self, peer: _Peer, wanted: Wanted, now: float) -> None:
        if wanted.answer:
            peer.lacks.append(wanted.cid)
        peer.ledger.lack(wanted, now)

    def _send(self, peer: _Peer, blocks: Iterable[Payload]) -> None:
        message = Message(blocks=tuple(blocks), haves=tuple(peer.haves), lacks=tuple(peer.lacks), foreign=peer.foreign)
        if message.entries:
            peer.stage = _Stage.SENDING
            self._out.append(Send(peer.id, message))
        else:
            self._rest(peer)
            self._turn(peer)

    def _rest(self, peer: _Peer) -> None:
        if peer.stage in (_Stage.FETCHING, _Stage.SENDING):
            self._held -= peer.need
        peer.stage = _Stage.RESTING
        peer.taken, peer.need = [], 0
        peer.haves, peer.lacks, peer.foreign = [], [], ()

    def _arrived(self, cids: Iterable[Cid], now: float) -> None:
        cids = tuple(cids)
        for peer in list(self._peers.values()):
            if [cid for cid in cids if peer.ledger.arrived(cid, now)]:
                self._turn(peer)
