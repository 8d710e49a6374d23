"""What the content service is handed by the composition root."""

from __future__ import annotations

from typing import Protocol

from nexusd.host.dht import Found
from nexusd_protocols.identity import PeerId


class Names(Protocol):
    """The DHT; see `host.dht.Dht`."""

    async def provide(self, cid: str) -> list[PeerId]: ...

    async def stop_providing(self, cid: str) -> bool: ...

    async def find_providers(self, cid: str, count: int = 20) -> list[Found]: ...
