"""Opening streams, so that neither a slow peer nor a caller that gives up leaves one behind.

Stock code negotiates a protocol within `host.new_stream`, and a cancelled negotiation leaves its stream open on both
hosts. So a stream is opened by a task that nobody cancels; a caller that gives up leaves it to reset what it opened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.host.exceptions import StreamFailure
from libp2p.peer.id import ID

from nexusd.host.ports import ConnectionLostError, DeadlineError, HostError, UnsupportedError
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols.identity import PeerId

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Opening:
    failed: Callable[[], None]
    done: trio.Event = field(default_factory=trio.Event)
    stream: Any = None
    error: HostError | None = None
    abandoned: bool = False


class Opener:
    """Opens streams on connections; dialling is the dialler's. Negotiation has the deadline of the swarm's settings."""

    def __init__(self, host: BasicHost) -> None:
        self._host = host
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Open in this nursery from now on."""
        self._nursery = nursery

    async def open(
        self, peer: PeerId, protocols: Sequence[str], failed: Callable[[], None] = lambda: None
    ) -> tuple[Any, str]:
        """A libp2p stream and the protocol agreed on. Raises UnsupportedError, ConnectionLostError, DeadlineError.

        `failed` is called if no stream comes of it, also after a caller gave up: only then is nothing open any more."""
        if self._nursery is None:
            raise HostError("The host is not running")
        opening = _Opening(failed)
        self._nursery.start_soon(self._open, peer, protocols, opening)
        try:
            await opening.done.wait()
        except BaseException:
            opening.abandoned = True
            if opening.stream is not None:
                await reset_stream(opening.stream)
                failed()
            raise
        if opening.error is not None:
            raise opening.error
        return opening.stream, str(opening.stream.get_protocol())

    async def _open(self, peer: PeerId, protocols: Sequence[str], opening: _Opening) -> None:
        try:
            to = ID.from_string(peer)
            if not self._host.get_network().get_connections(to):
                raise ConnectionLostError("it is gone")  # stock code would dial
            stream = await self._host.new_stream(to, [TProtocol(p) for p in protocols])
        except Exception as error:
            opening.error = _explain(peer, protocols, error)
        else:
            if opening.abandoned:
                await reset_stream(stream)
            else:
                opening.stream = stream
        finally:
            if opening.stream is None:
                opening.error = opening.error or ConnectionLostError(f"The connection to {peer} is closing")
                opening.failed()
            opening.done.set()


def _explain(peer: PeerId, protocols: Sequence[str], error: Exception) -> HostError:
    words = f"{error} {error.__cause__}".lower()
    if isinstance(error, StreamFailure):
        if "not supported" in words or "unsupported" in words:
            return UnsupportedError(f"{peer} does not speak {' or '.join(protocols)}")
        if "timed out" in words:
            return DeadlineError(f"{peer} did not answer the request for a stream")
    _log.debug("no stream to %s: %s", peer, error.__cause__ or error)
    return ConnectionLostError(f"The connection to {peer} broke: it is gone, or refuses this node")
