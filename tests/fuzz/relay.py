"""What relays say, as answers and as questions."""

from __future__ import annotations

import contextlib

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.relay.hop import Hop, Refused
from nexusd_protocols.relay.stop import Stop
from tests.harness.vectors import vectors

_VECTORS = vectors("relay")
SEEDS = [
    bytes.fromhex(row["wire"]) for rows in ("questions", "answers", "refused", "incoming") for row in _VECTORS[rows]
]


def target(data: bytes) -> None:
    for machine in (Hop("reserve"), Hop("connect"), Stop()):
        with contextlib.suppress(RemoteProtocolError):
            found = machine.receive(data)
            assert found is None or data.endswith(machine.rest)
            assert not isinstance(found, Refused) or found.reason
