"""Asking others for blocks. (specs/bitswap.md §4)

    Open, Ask(peers), Need(cid)  ->  Send(wants)
    Heard(blocks, words)         ->  Got, Missing, Send(more wants, cancels), Charge
    Tick at `deadline()`         ->  Send, Missing, Charge

Sessions choose; this keeps one list of wants for each peer, and knows what a peer may send.
"""

from __future__ import annotations

import math
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.bitswap.events import (
    Ask,
    Broken,
    Charge,
    ClientInput,
    ClientOutput,
    Close,
    Forget,
    Got,
    Heard,
    Joined,
    Left,
    Missing,
    Need,
    Open,
    Send,
    SessionId,
    Tick,
)
from nexusd_protocols.bitswap.message import Kind, Message
from nexusd_protocols.bitswap.session import Session
from nexusd_protocols.bitswap.told import Told
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import FLOOD, LocalProtocolError
from nexusd_protocols.identity import PeerId

UNASKED_FLOOD: Final = 10
"""Unasked blocks in one message that are no mistake."""


class Client:
    """One node's. Memory is bounded by the sessions that there are, and by `limits`."""

    def __init__(self) -> None:
        self._sessions: dict[SessionId, Session] = {}
        self._connected: dict[PeerId, None] = {}
        self._told: dict[PeerId, Told] = {}
        self._words: list[tuple[SessionId, PeerId, bytes, bool]] = []
        self._news: dict[PeerId, None] = {}
        self._out: list[ClientOutput] = []
        self.unasked = 0
        """Blocks that nobody had asked for."""
        self.duplicates = 0
        """Blocks that came again, or too late."""

    def handle(self, event: ClientInput, now: float) -> list[ClientOutput]:
        """Take one input; give what is to be done for it, in order. Raises LocalProtocolError for a session that is
        not open, or that wants too much."""
        match event:
            case Heard(peer, message):
                self._heard(peer, message, now)
            case Need(session, cid):
                self._session(session).need(cid, now)
            case Forget(session, cid):
                self._session(session).forget(cid.digest, now)
            case Tick():
                for each in self._sessions.values():
                    each.tick(now)
            case Joined(peer):
                self._connected[peer] = None
                for each in self._sessions.values():
                    each.add(peer, now, most=limits.BITSWAP_SESSION_PEERS // 2)
            case Left(peer):
                self._left(peer, now)
            case Broken(peer):
                if (told := self._told.get(peer)) and (everything := told.everything()):
                    self._out.append(Send(peer, everything))
            case Open(session):
                self._open(session, now)
            case Ask(session, peers):
                asking = self._session(session)
                for peer in peers:
                    asking.add(peer, now)
            case Close(session):
                self._session(session).close()
                del self._sessions[session]
        self._settle(now)
        out, self._out = self._out, []
        return out

    def deadline(self) -> float:
        """When the next `Tick` is due."""
        return min((session.deadline() for session in self._sessions.values()), default=math.inf)

    @property
    def connected(self) -> tuple[PeerId, ...]:
        """Peers that speak the protocol."""
        return tuple(self._connected)

    # --- inputs ---------------------------------------------------------------------------------------------------

    def _session(self, number: SessionId) -> Session:
        session = self._sessions.get(number)
        if session is None:
            raise LocalProtocolError("the session is not open")
        return session

    def _open(self, number: SessionId, now: float) -> None:
        if number in self._sessions:
            raise LocalProtocolError("the session is open")
        session = self._sessions[number] = Session(number, self)
        for peer in self._connected:
            session.add(peer, now, most=limits.BITSWAP_SESSION_PEERS // 2)

    def _left(self, peer: PeerId, now: float) -> None:
        self._connected.pop(peer, None)
        self._told.pop(peer, None)
        self._news.pop(peer, None)
        for session in self._sessions.values():
            session.gone(peer, now)

    def _heard(self, peer: PeerId, message: Message, now: float) -> None:
        told = self._told.get(peer)
        unasked = message.strays
        for block in message.blocks:
            if told is None or not told.expects(block.cid.digest):
                unasked += 1
                continue
            told.delivered(block.cid.digest)
            self._deliver(peer, block.cid.digest, block.data, now)
        if told is not None:
            for cids, have in ((message.haves, True), (message.lacks, False)):
                for cid in cids:
                    self._word(told, peer, cid, have, now)
        if unasked:
            self.unasked += unasked
            if unasked < UNASKED_FLOOD:
                self.charge(peer, "unasked_block", 10)
            else:
                self.charge(peer, "too_many_unasked_blocks", FLOOD)
            for session in self._sessions.values():
                session.drop(peer, now)

    def _deliver(self, peer: PeerId, digest: bytes, data: bytes, now: float) -> None:
        wanted = False
        for session in self._sessions.values():
            cid = session.wants(digest)
            if cid is None:
                session.alive(peer, now)
                continue
            wanted = True
            self._out.append(Got(session.id, cid, data, peer))
            session.got(peer, digest, now)
        self.duplicates += not wanted

    def _word(self, told: Told, peer: PeerId, cid: Cid, have: bool, now: float) -> None:
        entry = told.entries.get(cid.digest)
        if entry is None:
            return
        entry.word = have
        for number in tuple(entry.holders):
            self._sessions[number].word(peer, cid.digest, have, now)

    def _settle(self, now: float) -> None:
        """What sessions asked of peers that have answered before, and what the peers are to be told."""
        while self._words:
            number, peer, digest, have = self._words.pop()
            if (session := self._sessions.get(number)) is not None:
                session.word(peer, digest, have, now)
        news, self._news = self._news, {}
        for peer in news:
            if (told := self._told.get(peer)) is not None:
                self._out += [Send(peer, message) for message in told.news()]

    # --- what sessions have done for them (`session.Desk`) -----------------------------------------------------------

    def ask(self, session: SessionId, peer: PeerId, cid: Cid, kind: Kind) -> None:
        """Tell a peer what is wanted."""
        told = self._told.get(peer)
        if told is None:
            told = self._told[peer] = Told()
        entry = told.ask(session, cid, kind)
        if entry.word is not None:
            self._words.append((session, peer, cid.digest, entry.word))
        self._news[peer] = None

    def repeat(self, peer: PeerId, digest: bytes) -> None:
        """Ask a peer once more."""
        if (told := self._told.get(peer)) is not None:
            told.repeat(digest)
            self._news[peer] = None

    def release(self, session: SessionId, peer: PeerId, digest: bytes) -> None:
        """Tell a peer that it is wanted no more."""
        if (told := self._told.get(peer)) is not None:
            told.release(session, digest)
            self._news[peer] = None

    def missing(self, session: SessionId, cid: Cid) -> None:
        """Nobody has it."""
        self._out.append(Missing(session, cid))

    def charge(self, peer: PeerId, code: str, points: int) -> None:
        """A peer is to blame."""
        self._out.append(Charge(peer, code, points))
