"""The shape that every stream protocol has: bytes in, events out; commands in, bytes out; the end of input explicit."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

EventT = TypeVar("EventT")
CommandT_contra = TypeVar("CommandT_contra", contravariant=True)


class StreamMachine(Protocol[EventT, CommandT_contra]):
    """One side of one stream. Never does input or output; the pump in `nexusd.host.router` drives it.

    `receive` and `receive_eof` raise `RemoteProtocolError` once; after that the machine is finished. `send` raises
    `LocalProtocolError` when the state does not allow the command.
    """

    def receive(self, data: bytes) -> list[EventT]:
        """Take bytes as they came, split or merged anywhere; give the events that are now complete."""
        ...

    def receive_eof(self) -> list[EventT]:
        """The peer half-closed: it will send nothing more. Raises if that cuts something short."""
        ...

    def send(self, command: CommandT_contra) -> bytes:
        """Give the bytes that carry out the command now."""
        ...


@runtime_checkable
class HoldsBack(Protocol):
    """A stream machine that refuses to produce more while too much of what it gave is still on its way.

    The pump calls `sent` with the length of what `send` gave once the transport took it.
    """

    @property
    def writable(self) -> bool:
        """Whether `send` takes more content now. What ends a call may always be sent."""
        ...

    def sent(self, count: int) -> None:
        """The transport took `count` bytes."""
        ...
