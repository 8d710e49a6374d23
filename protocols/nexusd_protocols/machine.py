"""The shape that every stream protocol has: bytes in, events out; commands in, bytes out; the end of input explicit."""

from __future__ import annotations

from typing import Protocol, TypeVar

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
