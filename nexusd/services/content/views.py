"""Results as the schema has them, and refusals."""

from __future__ import annotations

from nexusd.host.ports import HostError, NotFoundError
from nexusd.services import ports
from nexusd.services.content.disk import Disk
from nexusd.services.content.keeping import ROOM, Budgets
from nexusd.store.blocks import Collected, Pin, Usage
from nexusd_protocols.content.block import BlockError
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.retention import CLASSES
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import ContentCollected, ContentPin, StorageClass, StorageOwner, StorageShow


def parse_cid(text: str) -> Cid | Refusal:
    """What a person typed for a CID."""
    try:
        return Cid.parse(text)
    except ValueError as error:
        return Refusal("invalid_cid", f"{text[:80]!r}: {error}")


def refusal_of(error: HostError | BlockError) -> Refusal:
    """What could not be had, or was not what it should be."""
    match error:
        case BlockError():
            return Refusal("bad_content", str(error))
        case NotFoundError():
            return Refusal("content_not_found", str(error))
        case _:
            return ports.refusal_of(error)


def pin_view(pin: Pin) -> ContentPin:
    """A pin."""
    return ContentPin(
        cid=str(pin.cid),
        owner=pin.owner,
        retention=pin.retention,
        name=pin.name,
        size=pin.size,
        created_at=pin.created_at,
        expires_at=pin.expires_at,
    )


def collected_view(collected: Collected) -> ContentCollected:
    """What went, or would go."""
    return ContentCollected(blocks=collected.blocks, bytes=collected.bytes, pins=collected.pins)


def usage_view(
    usage: Usage,
    *,
    loose: int,
    damaged: list[Cid],
    budgets: Budgets,
    disk: Disk,
    uploads: int,
    fetches: int,
    autopin: bool,
) -> StorageShow:
    """What the disk is used for. `loose` is the bytes of blocks that nothing keeps."""
    owners = [
        StorageOwner(owner=owner, bytes=kept.bytes, pins=kept.pins, limit=budgets.room if owner.startswith(ROOM) else 0)
        for owner, kept in sorted(usage.by_owner.items())
    ]
    classes = [
        StorageClass(retention=name, bytes=usage.by_class[name].bytes, pins=usage.by_class[name].pins)
        for name in CLASSES
        if name in usage.by_class
    ]
    return StorageShow(
        blocks=usage.blocks,
        bytes=usage.bytes,
        unpinned=loose,
        file_bytes=usage.file_bytes,
        others=sum(owner.bytes for owner in owners if owner.owner.startswith(ROOM)),
        others_limit=budgets.total,
        disk_free=disk.free(),
        disk_reserve=disk.reserve,
        owners=owners,
        classes=classes,
        damaged_count=usage.damaged,
        damaged=[str(cid) for cid in damaged],
        uploads=uploads,
        fetches=fetches,
        autopin=autopin,
    )
