"""DAG-JSON, as far as what others wrote is read: which blocks it links to. (ipld.io/specs/codecs/dag-json)

A map of the one key `/` whose value is text is a link. How a value is spelled is its writer's affair: nothing of ours
is DAG-JSON, so nothing depends on there being one way only.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from nexusd_protocols import limits, ndjson
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import RemoteProtocolError

_decoder: Final = msgspec.json.Decoder(Any)


def decode(data: bytes, *, depth: int = limits.JSON_DEPTH) -> Any:
    """The JSON, links and bytes as the maps that stand for them. Raises ValueError."""
    try:
        return ndjson.decode(data, _decoder, depth=depth)
    except RemoteProtocolError as error:
        raise ValueError(str(error)) from error


def links(data: bytes, *, depth: int = limits.JSON_DEPTH) -> list[Cid]:
    """The CIDs in it, however often. Raises ValueError, for a link that is no CID too."""
    found: list[Cid] = []
    level: list[Any] = [decode(data, depth=depth)]
    while level:
        below: list[Any] = []
        for value in level:
            if isinstance(value, list):
                below.extend(value)
            elif isinstance(value, dict):
                target = value.get("/") if len(value) == 1 else None
                if isinstance(target, str):
                    found.append(Cid.parse(target))
                else:
                    below.extend(value.values())
        level = below
    return found
