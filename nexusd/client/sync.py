"""The synchronous client: standard library sockets, no async library, safe to use from several threads.

Each request, call and event stream holds a connection of its own while it lasts (a few idle ones are kept), so that a
slow reader of one holds up nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Final, Literal, ParamSpec, Self, TypeVar, overload

import msgspec

from nexusd.client import asks
from nexusd.client.asks import Ask
from nexusd.client.errors import NexusError
from nexusd.client.events import EventStream
from nexusd.client.exchange import Feed, Params
from nexusd.client.finding import find_socket
from nexusd.client.invocation import CallerSide, invoke_params, kept
from nexusd.client.link import Links
from nexusd.client.stream import CallStream
from nexusd_protocols import limits
from nexusd_protocols.invoke.output import Pieces
from nexusd_protocols.rpc import schema

P = ParamSpec("P")
R = TypeVar("R")


def _does(build: Callable[P, Ask[R]]) -> Callable[Concatenate[_Asking, P], R]:
    """A method that asks what `build` builds."""

    def method(self: _Asking, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.ask(build(*args, **kwargs))

    method.__doc__ = build.__doc__
    method.__name__ = build.__name__
    return method


class _Asking:
    def ask(self, ask: Ask[R]) -> R:
        """Carry a request."""
        raise NotImplementedError  # a subclass says


class _Part(_Asking):
    def __init__(self, nexus: Nexus) -> None:
        self._nexus = nexus

    def ask(self, ask: Ask[R]) -> R:
        """Carry a request."""
        return self._nexus.ask(ask)


class Peers(_Part):
    """`nexus.peers`"""

    list = _does(asks.peers_list)
    connect = _does(asks.peers_connect)
    block = _does(asks.peers_block)
    unblock = _does(asks.peers_unblock)
    ban = _does(asks.peers_ban)
    unban = _does(asks.peers_unban)


class Profile(_Part):
    """`nexus.profile`"""

    get = _does(asks.profile_get)
    set = _does(asks.profile_set)


class Rooms(_Part):
    """`nexus.rooms`"""

    join = _does(asks.room_join)
    leave = _does(asks.room_leave)
    list = _does(asks.room_list)
    send = _does(asks.room_send)
    history = _does(asks.room_history)
    members = _does(asks.room_members)


class Inbox(_Part):
    """`nexus.inbox`: direct messages"""

    send = _does(asks.dm_send)
    list = _does(asks.dm_list)


class Capabilities(_Part):
    """`nexus.capabilities`"""

    list = _does(asks.capability_list)
    remove = _does(asks.capability_remove)
    serve_command = _does(asks.capability_command)


class Nexus(_Asking):
    """A client of one daemon. Hold it in `with`, or `close` it."""

    def __init__(self, path: Path, *, timeout: float | None = None) -> None:
        self.socket: Final = path
        """Where the daemon listens."""
        self._links = Links(path, timeout)
        self.peers = Peers(self)
        self.profile = Profile(self)
        self.rooms = Rooms(self)
        self.inbox = Inbox(self)
        self.capabilities = Capabilities(self)

    @classmethod
    def connect(
        cls,
        name: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        socket: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
    ) -> Nexus:
        """Find the daemon (see `nexusd.client.finding`) and connect. `timeout`: seconds that the daemon may be silent
        while something is asked of it; without it, it may take the time that it takes. Raises NexusError."""
        nexus = cls(Path(socket) if socket is not None else find_socket(name, data_dir), timeout=timeout)
        with nexus._links.one():
            return nexus  # somebody answers

    status = _does(asks.status)
    shutdown = _does(asks.shutdown)
    config = _does(asks.config)
    discover = _does(asks.discover)

    def ask(self, ask: Ask[R]) -> R:
        """Carry a request. Raises NexusError."""
        result: R = self.call(ask.method, ask.params)
        return result

    def call(self, method: str, params: Params = None, *, timeout: float | None = None, file: int | None = None) -> Any:
        """Any method of `nexusd_protocols.rpc.schema`, with its struct or a mapping of wire names as parameters; gives
        the result struct. `timeout` replaces the client's; `file` is the descriptor of an open file that the daemon is
        to read or to write. Raises NexusError."""
        with self._links.one() as link:
            if timeout is not None:
                link.set_timeout(timeout)
            return link.call(method, params, file)

    def events(
        self,
        *,
        cursor: int | None = None,
        kinds: Sequence[schema.EventKind] | None = None,
        room: str | None = None,
        peer: str | None = None,
        patience: float = 30.0,
    ) -> EventStream:
        """Events as they happen, from now on or behind `cursor`: an iterator, best held in `with`. Reconnects by itself
        and continues where it was, so that nothing stored is missed; gives up once the daemon was away for `patience`
        seconds. Raises NexusError."""
        return EventStream(self._links, Feed(cursor, kinds, room, peer), patience)

    def stream(
        self,
        peer: str,
        capability: str,
        input: Any = msgspec.UNSET,  # noqa: A002 - the field's name on the wire
        *,
        pieces: Iterable[Any] | None = None,
        stream: bool = True,
        input_format: str | None = None,
        max_duration_ms: int = limits.INVOKE_MAX_DURATION_MS,
        max_input_bytes: int | None = None,
        max_output_bytes: int = limits.INVOKE_MAX_OUTPUT_BYTES,
        max_price: str | None = None,
        tab: bool = False,
        id: str | None = None,  # noqa: A002 - the field's name on the wire
        again: str | None = None,
        anyway: bool = False,
        agent: str | None = None,
    ) -> CallStream:
        """Call a capability and iterate over its output as it comes. `input` is the whole input; `pieces` are sent one
        by one, from a thread of their own, as the provider takes them. `max_price` is what it may cost, in whole tokens
        ("0.10"); without it nothing is paid; with `tab` it is paid as it comes. A call made twice under one `id` is
        paid for once; `again` is the id of one that must have been. Raises NexusError."""
        params, split = invoke_params(
            peer,
            capability,
            input,
            pieces_follow=pieces is not None,
            stream=stream,
            input_format=input_format,
            max_duration_ms=max_duration_ms,
            max_input_bytes=max_input_bytes,
            max_output_bytes=max_output_bytes,
            max_price=max_price,
            tab=tab,
            id=id,
            again=again,
            anyway=anyway,
            agent=agent,
        )
        link = self._links.take()
        try:
            begun: schema.Invocation = link.call("capability.invoke", params)
            link.set_timeout(None)  # how long a call may take was said in it
        except BaseException as error:
            self._links.failed(link, error)
            raise
        return CallStream(self._links, link, CallerSide(begun, params.credit), pieces if split is None else split)

    @overload
    def invoke(
        self, peer: str, capability: str, input: Any = ..., *, stream: Literal[True], **options: Any
    ) -> CallStream: ...

    @overload
    def invoke(
        self, peer: str, capability: str, input: Any = ..., *, stream: Literal[False] = ..., **options: Any
    ) -> Any: ...

    def invoke(
        self,
        peer: str,
        capability: str,
        input: Any = msgspec.UNSET,  # noqa: A002 - the field's name on the wire
        *,
        stream: bool = False,
        **options: Any,
    ) -> Any:
        """Call a capability and return its value; with `stream`, the same as `stream()`. Raises NexusError, with what
        came of a call that may have been paid for as `data["output"]`."""
        call = self.stream(peer, capability, input, stream=stream, **options)
        if stream:
            return call
        output = Pieces()
        with kept(output, paid=options.get("max_price") is not None), call:
            for event in call:
                if event.event != "progress":
                    output.add(event.data)
        return output.value()

    def serve(
        self,
        name: str,
        handler: Callable[..., Any],
        *,
        description: str = "",
        max_concurrent: int = 4,
        timeout_ms: int = 600_000,
        max_input_bytes: int = limits.MIB,
        streaming: bool = True,
        prices: Sequence[schema.PriceSpec] = (),
        agent: str | None = None,
        ready: Callable[[], None] | None = None,
    ) -> None:
        """Serve a capability until `close` is called or the daemon goes away; blocks. `handler(call)` runs in a thread
        of its own for each call, with a `nexusd.client.serving.Call`; what it returns (or yields, piece by piece) is
        the output. `prices` is what a call costs, one of them as the caller likes. `ready` is called once others can
        call. Raises NexusError."""
        from nexusd.client.serving import Server

        params = schema.CapabilityRegisterParams(
            name=name,
            description=description,
            max_concurrent=max_concurrent,
            timeout_ms=timeout_ms,
            max_input_bytes=max_input_bytes,
            streaming=streaming,
            prices=list(prices),
            agent=agent,
        )
        link = self._links.take()
        try:
            link.set_timeout(None)
            link.call("capability.register", params)
            if ready is not None:
                ready()
            Server(link, handler, max_concurrent).run()
        except NexusError:
            if not self._links.closed:
                raise
        finally:
            self._links.drop(link)

    def close(self) -> None:
        """Close every connection; calls and event streams that are under way end."""
        self._links.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
