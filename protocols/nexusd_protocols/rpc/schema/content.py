"""Content by its address: put, got, kept, and what all of it takes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.rpc.schema.shape import Acting, Page, Params, Result

Wait = Annotated[int, Meta(ge=0, le=600_000)]
ContentKind = Literal["file", "directory", "json", "dag-json", "dag-cbor", "other"]
Offset = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Span = Annotated[int, Meta(ge=1, le=limits.CONTENT_SPAN_BYTES)]


class ContentBeginParams(Acting, frozen=True, kw_only=True):
    """Begin to put something. `key` is any text by which the same put is known again: begun a second time with it (by
    the same agent, within an hour, while the daemon runs) it goes on where it was. `staged` content is to go into a
    directory: it is kept for a day by itself, and with the directory from then on. `format` json: the bytes are JSON,
    which becomes one block, spelled as JavaScript does."""

    name: Annotated[str, Meta(max_length=limits.FILE_NAME_BYTES)] = ""
    key: Annotated[str, Meta(max_length=512)] = ""
    retention: RetentionClass = "archival"
    staged: bool = False
    format: Literal["file", "json"] = "file"


class ContentUpload(Result, frozen=True, kw_only=True):
    """A put under way: the next byte to write is `written`. `done` is set where it was finished before."""

    upload: str
    written: int
    done: ContentPut | None = None


class ContentWriteParams(Acting, frozen=True, kw_only=True):
    """The next bytes, base64, at most 1 MiB. `offset` is where they belong, which must be what was written so far."""

    upload: str
    offset: Offset
    data: bytes


class ContentWriteFromParams(Acting, frozen=True, kw_only=True):
    """The next bytes, out of a file that comes with the request: from `offset` of it, which must be what was written so
    far, at most `length`. What is written is less where the file ends, and nothing where it has ended."""

    upload: str
    offset: Offset
    length: Span = limits.CONTENT_SPAN_BYTES


class ContentWritten(Result, frozen=True, kw_only=True):
    """Bytes taken in all."""

    written: int


class ContentUploadParams(Acting, frozen=True, kw_only=True):
    """A put under way."""

    upload: str


class ContentPut(Result, frozen=True, kw_only=True):
    """What was put is on disk, and kept, under this CID. `size`: bytes of content; `total_size`: with the nodes above
    it, which is what a directory says of it."""

    cid: str
    size: int
    total_size: int


class ContentEntry(Result, frozen=True, kw_only=True):
    """A name in a directory. Of a directory that another host made, any text: untrusted. `size` is its word, too."""

    name: str
    cid: str
    size: int = 0


class ContentDirectoryParams(Acting, frozen=True, kw_only=True):
    """Make a directory of what is here."""

    entries: Annotated[list[ContentEntry], Meta(max_length=limits.DIRECTORY_ENTRIES)]
    name: Annotated[str, Meta(max_length=limits.FILE_NAME_BYTES)] = ""
    retention: RetentionClass = "archival"
    staged: bool = False


class ContentReadParams(Acting, frozen=True, kw_only=True):
    """Bytes of a file, or of a block that is no file, from `offset`: at most 1 MiB. What is not here is fetched, from
    `peers` and whoever else has it, for at most `wait_ms`."""

    cid: str
    offset: Offset = 0
    length: Annotated[int, Meta(ge=1, le=limits.CONTENT_PIECE_BYTES)] = limits.CONTENT_PIECE_BYTES
    peers: Annotated[list[str], Meta(max_length=16)] = []
    wait_ms: Wait = 30_000


class ContentRead(Result, frozen=True, kw_only=True):
    """`data` is base64, and comes from whoever made the content: untrusted. `size` is of all of it."""

    data: bytes
    size: int


class ContentReadIntoParams(Acting, frozen=True, kw_only=True):
    """Bytes as `content.read` gives them, into a file that comes with the request: from `offset` of it on, at most
    `length`. After an error some of them may be there."""

    cid: str
    offset: Offset = 0
    length: Span = limits.CONTENT_SPAN_BYTES
    peers: Annotated[list[str], Meta(max_length=16)] = []
    wait_ms: Wait = 30_000


class ContentReadInto(Result, frozen=True, kw_only=True):
    """`read` bytes were written to the file, which come from whoever made the content: untrusted. `size` is of all of
    it."""

    read: int
    size: int


class ContentFetchParams(Acting, frozen=True, kw_only=True):
    """Fetch all blocks of something, and keep it for `retention`. Answers once it is all here, or after `wait_ms`,
    whichever is first: ask again to go on waiting. Whoever does not ask for ten seconds waits no more, and fetching
    ends; what came is kept, so that the next time continues."""

    cid: str
    retention: RetentionClass = "cache"
    peers: Annotated[list[str], Meta(max_length=16)] = []
    wait_ms: Wait = 600_000


class ContentFetched(Result, frozen=True, kw_only=True):
    """How far it is. `blocks` and `bytes` are here, `fetched` of these bytes came from peers, now; `total` is what the
    content says of its size, 0 if it does not say."""

    cid: str
    done: bool
    blocks: int
    bytes: int
    fetched: int
    total: int
    peers: int


class ContentParams(Acting, frozen=True, kw_only=True):
    """Something by its CID."""

    cid: str


class ContentStatParams(Acting, frozen=True, kw_only=True):
    """Something by its CID, whose first block is fetched if it is not here, for at most `wait_ms`. `path` are names of
    directories and then a file below it, each after a `/`. `skip` leaves out the first entries of a directory."""

    cid: str
    path: Annotated[str, Meta(max_length=4096)] = ""
    skip: Annotated[int, Meta(ge=0, le=limits.BLOCK_BYTES)] = 0
    peers: Annotated[list[str], Meta(max_length=16)] = []
    wait_ms: Wait = 30_000


class ContentStat(Result, frozen=True, kw_only=True):
    """What something is. `size` is that of a file, or of the one block; `total_size` of all blocks, as it says itself;
    `complete` whether all of them are here. `entries` are a directory's; if `more` of them follow, `skip` these. `note`
    says, of other kinds, what it is."""

    cid: str
    kind: ContentKind
    codec: str
    size: int
    total_size: int
    complete: bool
    pins: list[ContentPin]
    entries: list[ContentEntry] = []
    more: bool = False
    note: str = ""


class ContentListParams(Acting, frozen=True, kw_only=True):
    """What the agent keeps; `everything`: also what is kept for rooms, for others and for a while. `after` is the
    `last` of the page before."""

    everything: bool = False
    after: int | None = None
    limit: Page = 100


class ContentPin(Result, frozen=True, kw_only=True):
    """Something that is kept, with all below it, until `expires_at` (0: for ever). `owner` is user, cache, upload,
    directory, or `room:` and a room. `size` is 0 until it is known."""

    cid: str
    owner: str
    retention: RetentionClass
    name: str
    size: int
    created_at: int
    expires_at: int


class ContentList(Result, frozen=True, kw_only=True):
    pins: list[ContentPin]
    more: bool
    last: int | None = None


class ContentPinParams(Acting, frozen=True, kw_only=True):
    """Keep something from now on: for as long as its class says, or for another time than before."""

    cid: str
    retention: RetentionClass = "archival"
    name: Annotated[str, Meta(max_length=limits.FILE_NAME_BYTES)] = ""


class ContentCollectParams(Params, frozen=True, kw_only=True):
    """`dry_run`: only say what would go."""

    dry_run: bool = False


class ContentCollected(Result, frozen=True, kw_only=True):
    """Blocks that nothing kept needs, and pins whose time was over, or that were taken back. `rooms`: some in which
    messages of this agent's refer to what was removed."""

    blocks: int
    bytes: int
    pins: int
    rooms: list[str] = []


class StorageOwner(Result, frozen=True, kw_only=True):
    """What is kept in one owner's name. `limit` is 0 where only the disk limits it."""

    owner: str
    bytes: int
    pins: int
    limit: int = 0


class StorageClass(Result, frozen=True, kw_only=True):
    """What is kept in one class of retention."""

    retention: RetentionClass
    bytes: int
    pins: int


class StorageShow(Result, frozen=True, kw_only=True):
    """What is on this host's disk. `bytes` are of all blocks, `unpinned` of those that the next collection takes,
    `file_bytes` what the file that they are in takes of the disk; `others` is what is kept for others, of at most
    `others_limit`. `damaged` blocks were found damaged and not fetched again yet."""

    blocks: int
    bytes: int
    unpinned: int
    file_bytes: int
    others: int
    others_limit: int
    disk_free: int
    disk_reserve: int
    owners: list[StorageOwner]
    classes: list[StorageClass]
    damaged_count: int
    damaged: list[str]
    uploads: int
    fetches: int
    autopin: bool
