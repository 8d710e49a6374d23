"""content: put, get and keep files, directories and values by their CID."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from cyclopts import App, Parameter

from nexusd.cli import content_text, summaries
from nexusd.cli.options import STDIN, FilePath
from nexusd.cli.outcome import Answer
from nexusd.cli.progress import Bar
from nexusd.cli.session import call, current
from nexusd.cli.terminal import clean
from nexusd.cli.usage import UsageError
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.rpc.schema import (
    ContentCollected,
    ContentFetched,
    ContentList,
    ContentPin,
    ContentStat,
    Done,
    StorageShow,
)

app = App(name="content", help="Content by its CID: put, get, keep, remove.", help_format="plaintext")

USER: Final = "user"
"""Who owns the pins of what this agent keeps; only these have names that somebody chose for a file."""

AGAIN: Final = "the same command goes on from there"

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
Class = Annotated[RetentionClass, Parameter(name="--class")]
Peers = Annotated[tuple[str, ...], Parameter(name="--from", negative=(), show_default=False)]


class Put(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What was put. `skipped` are links and other things that are no files."""

    cid: str
    size: int
    total_size: int
    files: int
    skipped: list[str]


class Got(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What was got: `path` is where it was written, or `value` what it is. `fetched` bytes came from peers, the others
    were here."""

    cid: str
    kind: str
    bytes: int
    files: int
    fetched: int
    path: str | None = None
    value: Any = None


@app.command(help="Put a file or a directory, and print its CID.\n\nExample: nexus content put report.pdf")
def put(
    path: FilePath,
    /,
    *,
    class_: Annotated[RetentionClass, Parameter(name="--class")] = "archival",
    as_: Annotated[str | None, Parameter(name="--as")] = None,
    format: Literal["file", "json"] = "file",  # noqa: A002 - the flag's name
) -> Answer[Put]:
    """Put.

    Parameters
    ----------
    path
        A file, a directory with all that is in it, or - for standard input.
    class_
        How long to keep it: 1 hour, 1 day, 7 days, 30 days, for ever.
    as_
        What to call it in `nexus content ls`, instead of its own name.
    format
        json: one block of JSON, spelled as other programs of the network spell it.
    """
    from nexusd.cli import trees
    from nexusd.client import content

    if not path:
        raise UsageError("the path is empty", "give a file or a directory; . is the one you are in")
    nexus = current().nexus
    if path == STDIN:
        with Bar("standard input", stopped="nothing was put: it is begun anew") as bar:
            found = content.put_stream(
                nexus, sys.stdin.buffer, name=as_ or "", retention=class_, format=format, progress=bar.show
            )
        made = Put(cid=found.cid, size=found.size, total_size=found.total_size, files=1, skipped=[])
        return Answer(made, lambda put: put.cid)
    place = Path(path)
    called = as_ if as_ is not None else place.resolve().name
    with trees.told(), Bar(called, stopped=f"what was put of {called} stays for an hour; {AGAIN}") as bar:
        total = trees.size_of(place)
        if place.is_dir():
            if format != "file":
                raise UsageError("a directory is no JSON", "give a file")
            putter = trees.Putter(nexus, class_, lambda sent, label: bar.show(sent, total, label=label))
            found = putter.put(place, called)
            counted = putter.counted
        else:
            if not place.is_file():
                raise UsageError(f"{clean(path)} is neither a file nor a directory", "pipe it in, with - as the path")
            counted = trees.Counted(files=1)
            found = content.put_file(
                nexus,
                place,
                name=called,
                retention=class_,
                format=format,
                progress=lambda sent: bar.show(sent, total),
            )
    made = Put(
        cid=found.cid,
        size=counted.bytes or found.size,
        total_size=found.total_size,
        files=counted.files,
        skipped=counted.skipped,
    )
    return Answer(made, lambda put: put.cid, aside=content_text.put_aside(called, made))


@app.command(help="Get what a CID names, from whoever has it.\n\nExample: nexus content get bafybei… -o report.pdf")
def get(
    cid: str,
    /,
    *,
    output: Annotated[FilePath | None, Parameter(alias="-o")] = None,
    from_: Peers = (),
    force: Flag = False,
) -> Answer[Got] | None:
    """Get.

    Parameters
    ----------
    cid
        A CID, and perhaps a path below it: bafybei…/docs/readme.txt.
    output
        A file, a directory to put it into, or - for standard output; without it, here and under its own name.
    from_
        A peer to ask, beside those that are connected and those that the DHT names; repeatable.
    force
        Write over a file that is there.
    """
    from nexusd.cli import trees
    from nexusd.client import content

    root, path = content_text.split(cid)
    nexus = current().nexus
    with Bar("fetching", stopped=f"what came of it stays for a day; {AGAIN}") as bar:
        found: ContentStat = call("content.stat", cid=root, path=path, peers=list(from_))
        state: ContentFetched = content.fetch(
            nexus, found.cid, peers=from_, progress=lambda now: bar.show(now.bytes, now.total or None)
        )
    to_stdout = output == STDIN
    if output is None and found.kind in ("json", "dag-json", "dag-cbor"):
        data = b"".join(content.read(nexus, found.cid))
        got = Got(
            cid=found.cid,
            kind=found.kind,
            bytes=len(data),
            files=0,
            fetched=state.fetched,
            value=content_text.value_of(found.kind, data),
        )
        return Answer(got, lambda got: content_text.value_text(got.value))
    if to_stdout:
        if found.kind == "directory":
            raise UsageError("a directory is not written to standard output", "give a place with -o")
        for piece in content.read(nexus, found.cid):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return None
    with trees.told(), Bar("writing", stopped=f"nothing was written; all of it stays here for a day; {AGAIN}") as bar:
        target = _target(output, root, path, found, force=force)
        writer = trees.Writer(nexus, from_, lambda done, label: bar.show(done, found.total_size, label=label))
        writer.write(found, target)
    counted = writer.counted
    got = Got(
        cid=found.cid,
        kind=found.kind,
        bytes=counted.bytes,
        files=counted.files,
        fetched=state.fetched,
        path=str(target),
    )
    return Answer(got, content_text.got_text)


def _target(output: str | None, root: str, path: str, found: ContentStat, *, force: bool) -> Path:
    """Where to write. Raises UsageError for a place that is taken."""
    from nexusd_protocols.content.names import check_name

    own = (
        path.rstrip("/").rpartition("/")[2]
        or next((pin.name for pin in found.pins if pin.name and pin.owner == USER), "")
        or root
    )
    try:
        check_name(own)
    except ValueError:
        own = root
    target = Path(own if output is None else output)
    if output is not None and target.is_dir() and (found.kind != "directory" or output.endswith("/")):
        target = target / own
    if not target.parent.is_dir():
        raise UsageError(f"there is no directory {clean(str(target.parent))}", "make it first")
    if target.is_symlink() or target.exists():
        if found.kind == "directory" or target.is_dir():
            raise UsageError(f"{clean(str(target))} is there already", "give another place with -o")
        if not force:
            raise UsageError(f"{clean(str(target))} is there already", "give another place with -o, or --force")
    return target


@app.command(help="What is kept, or what is in a directory.\n\nExample: nexus content ls")
def ls(cid: str | None = None, /, *, everything: Annotated[bool, Parameter(alias="-a", negative=())] = False) -> Any:
    """List.

    Parameters
    ----------
    cid
        A directory, and perhaps a path below it; without it, what this agent keeps.
    everything
        Also what is kept for rooms, for others and for a while.
    """
    if cid is not None:
        root, path = content_text.split(cid)
        from nexusd.client import content

        found: ContentStat = call("content.stat", cid=root, path=path)
        entries = list(content.entries(current().nexus, found))
        return Answer(msgspec.structs.replace(found, entries=entries, more=False), content_text.directory)
    pins: list[ContentPin] = []
    after = None
    while True:
        page: ContentList = call("content.list", everything=everything, after=after, limit=500)
        pins += page.pins
        after = page.last
        if not page.more:
            listed = ContentList(pins=pins, more=False, last=after)
            return Answer(listed, lambda found: content_text.pins(found, everything=everything))


@app.command(name="stat", help=summaries.of("content.stat", "nexus content stat bafybei…"))
def stat_(cid: str, /, *, from_: Peers = ()) -> Answer[ContentStat]:
    """Stat.

    Parameters
    ----------
    cid
        A CID, and perhaps a path below it.
    from_
        A peer to ask, if it is not here; repeatable.
    """
    root, path = content_text.split(cid)
    return Answer(call("content.stat", cid=root, path=path, peers=list(from_)), content_text.stat)


@app.command(help=summaries.of("content.pin", "nexus content pin bafybei… --class retained"))
def pin(
    cid: str,
    /,
    *,
    class_: Annotated[RetentionClass, Parameter(name="--class")] = "archival",
    as_: Annotated[str, Parameter(name="--as")] = "",
    from_: Peers = (),
) -> Answer[ContentPin]:
    """Pin.

    Parameters
    ----------
    cid
        What to keep, with all below it. What is not here is fetched.
    class_
        How long to keep it from now on: 1 hour, 1 day, 7 days, 30 days, for ever.
    as_
        What to call it in `nexus content ls`.
    from_
        A peer to ask, if it is not here; repeatable.
    """
    from nexusd.client import content

    root, _ = content_text.split(cid, path=False)
    call("content.pin", cid=root, retention=class_, name=as_)
    with Bar("fetching", stopped=f"it is kept as far as it came; {AGAIN}") as bar:
        content.fetch(current().nexus, root, peers=from_, progress=lambda now: bar.show(now.bytes, now.total or None))
    return Answer(call("content.pin", cid=root, retention=class_, name=as_), content_text.pinned)


@app.command(help=summaries.of("content.unpin", "nexus content unpin bafybei…"))
def unpin(cid: str, /) -> Answer[Done]:
    """Unpin.

    Parameters
    ----------
    cid
        What to keep no longer. Its blocks go when nothing else needs them.
    """
    root, _ = content_text.split(cid, path=False)
    return Answer(call("content.unpin", cid=root), lambda _: f"{clean(root)} is not kept any more")


@app.command(help=summaries.of("content.remove", "nexus content rm bafybei…"))
def rm(cid: str, /) -> Answer[ContentCollected]:
    """Remove.

    Parameters
    ----------
    cid
        What to remove from this host. Others may have it all the same.
    """
    root, _ = content_text.split(cid, path=False)
    return Answer(call("content.remove", cid=root), content_text.removed)


@app.command(help=summaries.of("content.collect", "nexus content gc --dry-run"))
def gc(*, dry_run: Flag = False) -> Answer[ContentCollected]:
    """Collect.

    Parameters
    ----------
    dry_run
        Only say what would go.
    """
    return Answer(call("content.collect", dry_run=dry_run), lambda gone: content_text.collected(gone, dry_run=dry_run))


def storage() -> Answer[StorageShow]:
    """What the disk is used for."""
    found = call("storage.show")
    return Answer(found, content_text.storage)
