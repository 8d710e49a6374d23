"""The daemon that this command talks to: found and connected on first use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from nexusd.cli.options import STDIN, Options

if TYPE_CHECKING:
    from nexusd.client.sync import Nexus


@dataclass(slots=True)
class Session:
    """One run of the command line: its options, its streams, and the connection once it is needed."""

    options: Options = field(default_factory=Options)
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    _nexus: Nexus | None = None

    @property
    def nexus(self) -> Nexus:
        """The daemon. Raises NexusError if there is none, or several and none was named."""
        if self._nexus is None:
            from nexusd.client.sync import Nexus

            self._nexus = Nexus.connect(name=self.options.name, data_dir=self.options.data_dir)
        return self._nexus

    def call(self, method: str, **fields: Any) -> Any:
        """Call a method of the socket; fields that are None are left out. Returns the schema's result struct."""
        from nexusd_protocols.rpc.schema import METHODS

        given = {key: "-" if value == STDIN else value for key, value in fields.items() if value is not None}
        return self.nexus.call(method, METHODS[method].params(**given))

    def say(self, sentence: str) -> None:
        """Tell people something that is no result."""
        if sentence and not self.options.json:
            print(sentence, file=self.err, flush=True)

    def close(self) -> None:
        if self._nexus is not None:
            self._nexus.close()


_current: list[Session] = []


def current() -> Session:
    """The session of the command that runs."""
    return _current[-1]


@contextmanager
def use(session: Session) -> Iterator[Session]:
    """Make a session the current one, and close it at the end."""
    _current.append(session)
    try:
        yield session
    finally:
        _current.pop()
        session.close()


def call(method: str, **fields: Any) -> Any:
    """`Session.call` of the current session."""
    return current().call(method, **fields)
