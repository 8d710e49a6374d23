"""Ending an asynchronous generator that is left before its end: Trio will not have it left to the garbage collector."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def closing_after(items: AsyncIterable[T]) -> AsyncIterator[AsyncIterable[T]]:
    """Iterate inside; a generator is closed on leaving, whatever else is left alone."""
    try:
        yield items
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()
