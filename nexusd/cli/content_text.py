"""What commands about content show, and how they read a CID."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from nexusd.cli.terminal import clean, clock, counted, pairs, piece, size, table
from nexusd.cli.usage import UsageError
from nexusd_protocols.rpc.schema import (
    ContentCollected,
    ContentList,
    ContentPin,
    ContentStat,
    StorageShow,
)

if TYPE_CHECKING:
    from nexusd.cli.content import Got, Put


def split(typed: str, *, path: bool = True) -> tuple[str, str]:
    """The CID and the path in what a person typed: `bafy…`, `bafy…/a/b`, `/ipfs/bafy…`, `ipfs://bafy…`."""
    text = typed.removeprefix("ipfs://").removeprefix("/ipfs/")
    root, _, rest = text.partition("/")
    if rest and not path:
        raise UsageError(f"{clean(typed)} has a path", "give the CID alone: `nexus content stat` says it")
    return root, rest


def value_of(kind: str, data: bytes) -> Any:
    """A value for people and programs: links as {"/": cid}, bytes as {"/": {"bytes": base64}}, as DAG-JSON has them."""
    if kind != "dag-cbor":
        return json.loads(data)
    from nexusd_protocols.content import dag_cbor

    try:
        return _plain(dag_cbor.decode(data))
    except ValueError:
        # floats, which others may write
        return {"/": {"bytes": base64.b64encode(data).decode().rstrip("=")}}


def _plain(value: Any) -> Any:
    from nexusd_protocols.content.cid import Cid

    match value:
        case Cid():
            return {"/": str(value)}
        case bytes():
            return {"/": {"bytes": base64.b64encode(value).decode().rstrip("=")}}
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
    return value


def value_text(value: Any) -> str:
    """A value, indented, safe to print."""
    return piece(json.dumps(value, indent=2, ensure_ascii=False))


def put_aside(name: str, put: Put) -> str:
    """What was put, beside its CID."""
    what = f"{counted(put.files, 'file')}, {size(put.size)}" if put.files != 1 else size(put.size)
    skipped = "".join(f"\n  skipped {clean(path)}: not a file or a directory" for path in put.skipped[:10])
    more = f"\n  and {len(put.skipped) - 10} more" if len(put.skipped) > 10 else ""
    return f"{clean(name)}: {what}{skipped}{more}"


def got_text(got: Got) -> str:
    """What was written, and where from."""
    source = "all of it was here" if not got.fetched else f"{size(got.fetched)} fetched"
    files = f"{counted(got.files, 'file')}, " if got.kind == "directory" else ""
    return f"{clean(got.path or '')}: {files}{size(got.bytes)}, {source}"


def directory(found: ContentStat) -> str:
    """Entries of a directory; of something else, that it is none."""
    if found.kind != "directory":
        return stat(found)
    rows = [[entry.name, size(entry.size), entry.cid] for entry in found.entries]
    return table(["NAME", "SIZE", "CID"], rows, empty="an empty directory")


def pins(found: ContentList, *, everything: bool) -> str:
    """What is kept."""
    whose = "nothing is kept" if everything else "you keep nothing"
    also = "" if everything else "; -a shows what is kept for rooms, for others and for a while"
    rows = [[pin.cid, size(pin.size), _until(pin), pin.owner, pin.name] for pin in found.pins]
    return table(["CID", "SIZE", "UNTIL", "FOR", "NAME"], rows, empty=f"{whose}: `nexus content put` puts a file{also}")


def stat(found: ContentStat) -> str:
    """What something is."""
    rows = [
        ("cid", found.cid),
        ("kind", found.note or found.kind if found.kind == "other" else found.kind),
        ("codec", found.codec),
        ("size", f"{size(found.size)} ({found.size} bytes), {size(found.total_size)} with its nodes"),
        ("here", "all of it" if found.complete else "not all of it"),
    ]
    if found.kind == "directory":
        rows.append(("entries", str(len(found.entries))))
    kept = [f"{pin.owner}, {pin.retention}: {_until(pin)}" for pin in found.pins] or ["no"]
    rows += [("kept" if not at else "", line) for at, line in enumerate(kept)]
    return pairs(rows)


def pinned(pin: ContentPin) -> str:
    """What is kept now."""
    return f"{pin.cid} is kept: {_until(pin)}"


def removed(gone: ContentCollected) -> str:
    """What went at once."""
    if not gone.blocks:
        did = f"removed {counted(gone.pins, 'pin')} and no block" if gone.pins else "removed nothing"
        return f"{did}: all of it is kept for something else, see `nexus content stat`"
    referred = f"\nmessages of yours in {clean(', '.join(gone.rooms))} refer to it" if gone.rooms else ""
    return f"removed {counted(gone.blocks, 'block')}, {size(gone.bytes)}{referred}"


def collected(gone: ContentCollected, *, dry_run: bool) -> str:
    """What went."""
    verb = "would remove" if dry_run else "removed"
    return f"{verb} {counted(gone.blocks, 'block')}, {size(gone.bytes)}; {counted(gone.pins, 'expired pin')}"


def storage(found: StorageShow) -> str:
    """What the disk is used for."""
    rows = [
        ("content", f"{counted(found.blocks, 'block')}, {size(found.bytes)}; {size(found.file_bytes)} on the disk"),
        ("to go", f"{size(found.unpinned)} that nothing keeps"),
        ("others", f"{size(found.others)} of {size(found.others_limit)} kept for others"),
        ("disk", f"{size(found.disk_free)} free, of which {size(found.disk_reserve)} stay so"),
        ("autopin", "what messages refer to is kept" if found.autopin else "off"),
    ]
    if found.uploads or found.fetches:
        going = f"{counted(found.uploads, 'put')}, {counted(found.fetches, 'fetch', 'fetches')} under way"
        rows.append(("now", going))
    rows += [
        ("class" if not at else "", f"{row.retention}: {counted(row.pins, 'pin')}, {size(row.bytes)}")
        for at, row in enumerate(found.classes)
    ]
    rows += [
        ("for" if not at else "", f"{row.owner}: {counted(row.pins, 'pin')}, {size(row.bytes)}" + _of(row.limit))
        for at, row in enumerate(found.owners)
    ]
    if found.damaged_count:
        rows.append(("damaged", f"{counted(found.damaged_count, 'block')}, not fetched again yet"))
        rows += [("", cid) for cid in found.damaged[:5]]
    return pairs(rows)


def _of(limit: int) -> str:
    return f" of {size(limit)}" if limit else ""


def _until(pin: ContentPin) -> str:
    return "for ever" if not pin.expires_at else clock(pin.expires_at)
