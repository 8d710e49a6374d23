"""Work that is done to its end, whoever asked for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


class Errands:
    """Runs work in tasks of its own: a client that goes away in the middle leaves nothing half done."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Work in this nursery from now on."""
        self._nursery = nursery

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it, and wait for what comes of it. Raises what it raises, BrokenResourceError if the service stops."""
        if self._nursery is None:
            raise RuntimeError("the service is not running")
        values: list[T] = []
        errors: list[Exception] = []
        over = trio.Event()

        async def do() -> None:
            try:
                values.append(await work())
            except Exception as error:
                errors.append(error)
            finally:
                over.set()

        self._nursery.start_soon(do)
        await over.wait()
        if errors:
            raise errors[0]
        if not values:
            raise trio.BrokenResourceError("the daemon is stopping")
        return values[0]
