"""What the content service is handed: by the composition root, and with a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nexusd.host.dht import Found
from nexusd_protocols.identity import PeerId


class OpenFile(Protocol):
    """A file of whoever asks: see `api.files`. What its errors are, its owner knows."""

    async def read_at(self, offset: int, size: int) -> bytes: ...

    async def write_at(self, offset: int, pieces: Sequence[bytes]) -> None: ...


class Names(Protocol):
    """The DHT; see `host.dht.Dht`."""

    async def provide(self, cid: str) -> list[PeerId]: ...

    async def stop_providing(self, cid: str) -> bool: ...

    async def find_providers(self, cid: str, count: int = 20) -> list[Found]: ...
