"""A session of `ports.BlockExchange`: tasks that wait for blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

import trio

from nexusd.host.ports import DeadlineError, NotFoundError
from nexusd_protocols import limits
from nexusd_protocols.bitswap.events import Ask, ClientInput, Close, Forget, Need, Open, SessionId
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId


@dataclass(slots=True)
class _Waiting:
    """Tasks that wait for one block. Without `data` when it is `done`, nobody has it."""

    users: int = 0
    done: trio.Event = field(default_factory=trio.Event)
    data: bytes | None = None


class Session:
    """Implements `ports.BlockSession`. `tell` gives an input to the client machine."""

    def __init__(
        self,
        number: SessionId,
        own: PeerId,
        tell: Callable[[ClientInput], None],
        ended: Callable[[Session], None],
    ) -> None:
        self.id = number
        self._own = own
        self._tell = tell
        self._ended = ended
        self._slots = trio.Semaphore(limits.BITSWAP_UNDER_WAY)
        self._waiting: dict[bytes, _Waiting] = {}
        self._open = True
        tell(Open(number))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._open:
            self._open = False
            self._tell(Close(self.id))
            self._ended(self)

    def add_peers(self, peers: Iterable[PeerId]) -> None:
        """Ask these too, as `ports.BlockSession.add_peers`."""
        self._tell(Ask(self.id, tuple(peer for peer in peers if peer != self._own)))

    async def get(self, cid: Cid, *, timeout: float) -> bytes:
        """A block, as `ports.BlockSession.get`."""
        async with self._slots:
            waiting = self._waiting.setdefault(cid.digest, _Waiting())
            waiting.users += 1
            try:
                if waiting.users == 1:
                    self._tell(Need(self.id, cid))
                with trio.move_on_after(timeout):
                    await waiting.done.wait()
            finally:
                waiting.users -= 1
                if not waiting.users and not waiting.done.is_set():
                    del self._waiting[cid.digest]
                    if self._open:
                        self._tell(Forget(self.id, cid))
        if waiting.data is not None:
            return waiting.data
        if waiting.done.is_set():
            raise NotFoundError(f"Nobody who was asked has {cid}")
        raise DeadlineError(f"{cid} did not come in {timeout:g} s")

    def settle(self, cid: Cid, data: bytes | None) -> None:
        """The block came, or is nowhere."""
        if (waiting := self._waiting.pop(cid.digest, None)) is not None:
            waiting.data = data
            waiting.done.set()
