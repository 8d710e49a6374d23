"""What both clients share and neither does itself: requests and answers, and the credit of a call. Pure.

Link (sync | async) -> Exchange (JSON-RPC) -> CallerSide | ProviderSide (credit, pieces)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from nexusd.client.errors import CallError, NexusError
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.connection import (
    Connection,
    Event,
    Notification,
    Request,
    Response,
    decode_params,
)

Params = msgspec.Struct | Mapping[str, Any] | None

READ_BYTES: Final = 64 * limits.KIB
_AWAY: Final = frozenset({"connection_lost", "daemon_unreachable", "shutting_down"})
"""After these an event stream tries again."""
_FIRST_RETRY_S: Final = 0.05
_LONGEST_RETRY_S: Final = 1.0
"""Pauses between attempts to reach a daemon that went away: it may be restarting."""
RESTART: Final = "restart it in this version: `nexus stop`, then `nexusd run --detach`"
_NOTHING: Final[dict[str, Any]] = {}


class Exchange:
    """The machine of one connection, seen from a client."""

    def __init__(self) -> None:
        self._machine = Connection()

    def request(self, method: str, params: Params) -> tuple[int, bytes]:
        """The id and the line of a request. Raises NexusError `too_large`, as the daemon would."""
        request_id, line = self._machine.request(method, _NOTHING if params is None else params)
        if len(line) > limits.RPC_LINE_BYTES:
            self._machine.forget(request_id)
            raise NexusError.of("too_large", f"A request is at most {limits.RPC_LINE_BYTES} bytes")
        return request_id, line

    def receive(self, data: bytes) -> list[Event]:
        """Events in order. Raises NexusError where the daemon breaks the protocol."""
        try:
            events = self._machine.receive(data)
            while self._machine.more:
                events += self._machine.receive(b"")
        except RemoteProtocolError as error:
            raise NexusError.of("connection_lost", f"The daemon broke the protocol: {error}") from error
        return events

    def done(self, request_id: int | str) -> bytes:
        """The line that answers a request of the daemon's."""
        return self._machine.result(request_id, schema.Done())

    def failed(self, request_id: int | str, error: CallError) -> bytes:
        """The line that answers it with an error."""
        return self._machine.failure(request_id, error.message, {"code": error.code})

    def refused(self, request_id: int | str, refusal: Refusal) -> bytes:
        """The line that answers a request that this client does not understand."""
        return self._machine.error(request_id, refusal)


def result_of(method: str, params: Params, response: Response) -> Any:
    """The result struct of an answer (plain JSON for a method that this version does not know). Raises NexusError."""
    if response.error is not None:
        raise _explained(NexusError.of_answer(response.error), method, params)
    assert response.result is not None
    row = schema.METHODS.get(method)
    try:
        return msgspec.json.decode(response.result, type=Any if row is None else row.result)
    except msgspec.MsgspecError as error:
        raise NexusError.of("internal_error", f"The daemon's answer to {method} is not understood: {error}") from error


def _explained(error: NexusError, method: str, params: Params) -> NexusError:
    """What is in this version's table, and a daemon does not know, is no mistake of whoever asked: it is older."""
    known = method in schema.METHODS
    lacking = error.code == "method_not_found" or (
        error.code == "invalid_params" and isinstance(params, msgspec.Struct) and "unknown field" in error.message
    )
    if not (known and lacking):
        return error
    message = f"The daemon that runs is older than this program: {error.message}"
    return NexusError(error.code, message, RESTART, error.exit_code, error.data)


def told(event: Event) -> Any:
    """The struct of a notification; None for what this version does not know."""
    if not isinstance(event, Notification) or (row := schema.NOTIFICATIONS.get(event.method)) is None:
        return None
    params: Any = decode_params(event.params, row.params)
    return None if isinstance(params, Refusal) else params


def asked(event: Request) -> schema.IncomingCall | Refusal:
    """What the daemon asks of a provider."""
    if event.method != "capability.invoke":
        return Refusal("method_not_found")
    return decode_params(event.params, schema.IncomingCall)


class Feed:
    """One reader of the event feed, over as many connections as it takes."""

    def __init__(
        self, cursor: int | None, kinds: Sequence[schema.EventKind] | None, room: str | None, peer: str | None
    ) -> None:
        self.params = schema.SubscribeParams(
            cursor=cursor, kinds=None if kinds is None else list(kinds), room=room, peer=peer
        )
        """What to subscribe with now: behind all that was taken."""
        self._subscription = ""
        self.cut = False
        """The daemon ended the subscription: connect again."""

    def begun(self, subscription: schema.Subscription) -> None:
        """Subscribed, on a fresh connection."""
        self._subscription = subscription.subscription
        self.cut = False
        self._move(subscription.cursor)

    def take(self, event: Event) -> schema.NodeEvent | None:
        """The event for the reader in what came, if there is one."""
        match told(event):
            case schema.NodeEvent() as found if found.subscription == self._subscription:
                if found.cursor is not None:
                    self._move(found.cursor)
                return found
            case schema.SubscriptionEnded() as ended if ended.subscription == self._subscription:
                self._move(ended.cursor)
                self.cut = True
        return None

    def _move(self, cursor: int) -> None:
        self.params = msgspec.structs.replace(self.params, cursor=cursor)


class Absence:
    """How long an event stream waits for a daemon that went away: `patience` seconds in all, in pauses that grow."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None
        self._pause = _FIRST_RETRY_S

    def bears(self, error: NexusError, now: float) -> bool:
        """Whether to try again after that."""
        self._since = now if self._since is None else self._since
        return error.code in _AWAY and now + self._pause - self._since <= self._patience

    def over(self) -> None:
        """The daemon is back."""
        self._since, self._pause = None, _FIRST_RETRY_S

    def next_pause(self) -> float:
        """Seconds until the next attempt."""
        pause = self._pause
        self._pause = min(2 * pause, _LONGEST_RETRY_S)
        return pause
