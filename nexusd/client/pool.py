"""What the connections of both clients have in common: when one is kept for the next use, and when it is of no more."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from nexusd.client.errors import NexusError

LinkT = TypeVar("LinkT")

IDLE_LINKS: Final = 4
"""Connections kept for the next request; opening one costs about as much as a request."""
_BROKEN: Final = frozenset({"connection_lost", "timeout"})
"""After these a connection is of no more use: a late answer would meet the next request."""


class Pool(ABC, Generic[LinkT]):
    """Every connection of one client."""

    @abstractmethod
    def take(self) -> LinkT:
        """A connection for one use: `give_back` or `drop` it. Raises NexusError."""

    @abstractmethod
    def give_back(self, link: LinkT) -> None:
        """Keep a connection on which nothing is under way."""

    @abstractmethod
    def drop(self, link: LinkT) -> None:
        """Close a connection."""

    def failed(self, link: LinkT, error: BaseException) -> None:
        """What it was taken for raised this: it is kept after a refusal, and dropped otherwise."""
        if isinstance(error, NexusError) and error.code not in _BROKEN:
            self.give_back(link)
        else:
            self.drop(link)

    @contextmanager
    def one(self) -> Iterator[LinkT]:
        """A connection that is kept after a clean use, or a refusal, and dropped otherwise."""
        link = self.take()
        try:
            yield link
        except BaseException as error:
            self.failed(link, error)
            raise
        self.give_back(link)


def is_silent(sock: socket.socket) -> bool:
    """Whether the other end of a socket that does not block is still held, and has said nothing that nobody read."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
