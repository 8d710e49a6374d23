"""content and storage: what a person sees, what a program gets, and what is never written to the disk."""

from __future__ import annotations

import io
import os

import msgspec
import pytest

from nexusd.client import content
from nexusd_protocols import limits
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.unit.cli.answers import THEN

CID = str(Cid.of(RAW, b"content"))
OTHER = str(Cid.of(RAW, b"other"))
PIN = schema.ContentPin(
    cid=CID, owner="user", retention="archival", name="report.pdf", size=3 << 20, created_at=THEN, expires_at=0
)
PASSING = schema.ContentPin(
    cid=OTHER, owner="room:lab", retention="retained", name="\x1b[2Jx", size=7, created_at=THEN, expires_at=THEN
)
FILE = schema.ContentStat(
    cid=CID, kind="file", codec="raw", size=7, total_size=7, complete=True, pins=[PIN], entries=[], note=""
)
DIRECTORY = schema.ContentStat(
    cid=CID,
    kind="directory",
    codec="dag-pb",
    size=50,
    total_size=3 << 20,
    complete=False,
    pins=[],
    entries=[schema.ContentEntry(name="a\x1b]0;b", cid=OTHER, size=7), schema.ContentEntry(name="docs", cid=CID)],
)
STORAGE = schema.StorageShow(
    blocks=12,
    bytes=3 << 20,
    unpinned=5,
    file_bytes=4 << 20,
    others=1 << 20,
    others_limit=500_000_000,
    disk_free=3 << 30,
    disk_reserve=256 << 20,
    owners=[
        schema.StorageOwner(owner="room:lab", bytes=1 << 20, pins=2, limit=100_000_000),
        schema.StorageOwner(owner="user", bytes=2 << 20, pins=1),
    ],
    classes=[schema.StorageClass(retention="archival", bytes=3 << 20, pins=3)],
    damaged_count=1,
    damaged=[CID],
    uploads=1,
    fetches=0,
    autopin=True,
)


def done(cid: str = CID, fetched: int = 7) -> schema.ContentFetched:
    return schema.ContentFetched(cid=cid, done=True, blocks=1, bytes=7, fetched=fetched, total=7, peers=1)


def holding(data: bytes):
    """Answers of a daemon that has these bytes as a file."""

    def read(params):
        return schema.ContentRead(data=data[params.offset : params.offset + 3], size=len(data))

    def read_into(params, file):
        piece = data[params.offset : params.offset + params.length]
        return schema.ContentReadInto(read=os.pwrite(file, piece, params.offset), size=len(data))

    return {"content.stat": FILE, "content.fetch": done(), "content.read": read, "content.readInto": read_into}


def test_what_is_kept(nexus, daemon):
    pages = [
        schema.ContentList(pins=[PIN], more=True, last=4),
        schema.ContentList(pins=[PASSING], more=False, last=9),
    ]
    daemon.script["content.list"] = lambda params: pages[0 if params.after is None else 1]
    shown = nexus("content", "ls", "-a", tty=True)
    assert daemon.params("content.list") == schema.ContentListParams(everything=True, after=4, limit=500)
    assert (
        shown.out
        == f"""\
CID{" " * (len(CID) - 3)}  SIZE     UNTIL                FOR       NAME
{CID}  3.0 MiB  for ever             user      report.pdf
{OTHER}  7 B      2023-11-14 22:13:20  room:lab  x
"""
    )
    assert [pin["cid"] for pin in nexus("content", "ls").data["pins"]] == [CID, OTHER]
    daemon.script["content.list"] = schema.ContentList(pins=[], more=False)
    assert nexus("content", "ls", tty=True).out == (
        "you keep nothing: `nexus content put` puts a file; "
        "-a shows what is kept for rooms, for others and for a while\n"
    )
    assert nexus("content", "ls", "-a", tty=True).out == "nothing is kept: `nexus content put` puts a file\n"


def test_what_something_is(nexus, daemon):
    daemon.script["content.stat"] = DIRECTORY
    shown = nexus("content", "stat", f"/ipfs/{CID}/docs/", tty=True)
    assert daemon.params("content.stat") == schema.ContentStatParams(cid=CID, path="docs/")
    assert (
        shown.out
        == f"""\
cid      {CID}
kind     directory
codec    dag-pb
size     50 B (50 bytes), 3.0 MiB with its nodes
here     not all of it
entries  2
kept     no
"""
    )
    shown = nexus("content", "ls", f"ipfs://{CID}", tty=True)
    assert "\x1b" not in shown.out
    assert "a" in shown.out.splitlines()[1]
    assert "docs" in shown.out.splitlines()[2]


def test_a_directory_of_several_pages(nexus, daemon):
    rest = msgspec.structs.replace(DIRECTORY, entries=[schema.ContentEntry(name="last", cid=CID)])
    first = msgspec.structs.replace(DIRECTORY, more=True)
    daemon.script["content.stat"] = lambda params: rest if params.skip == 2 else first
    shown = nexus("content", "ls", CID).data
    assert ([entry["name"] for entry in shown["entries"]][1:], shown["more"]) == (["docs", "last"], False)


def test_what_the_disk_is_used_for(nexus, daemon):
    daemon.script["storage.show"] = STORAGE
    assert (
        nexus("storage", tty=True).out
        == f"""\
content  12 blocks, 3.0 MiB; 4.0 MiB on the disk
to go    5 B that nothing keeps
others   1.0 MiB of 476.8 MiB kept for others
disk     3.0 GiB free, of which 256.0 MiB stay so
autopin  what messages refer to is kept
now      1 put, 0 fetches under way
class    archival: 3 pins, 3.0 MiB
for      room:lab: 2 pins, 1.0 MiB of 95.4 MiB
         user: 1 pin, 2.0 MiB
damaged  1 block, not fetched again yet
         {CID}
"""
    )
    assert nexus("storage").data["damagedCount"] == 1


@pytest.mark.parametrize(
    ("args", "method", "answer", "params", "shown"),
    [
        (
            ["unpin", CID],
            "content.unpin",
            schema.Done(),
            schema.ContentParams(cid=CID),
            f"{CID} is not kept any more\n",
        ),
        (
            ["rm", CID],
            "content.remove",
            schema.ContentCollected(blocks=2, bytes=2048, pins=1),
            schema.ContentParams(cid=CID),
            "removed 2 blocks, 2.0 KiB\n",
        ),
        (
            ["rm", CID],
            "content.remove",
            schema.ContentCollected(blocks=0, bytes=0, pins=1),
            schema.ContentParams(cid=CID),
            "removed 1 pin and no block: all of it is kept for something else, see `nexus content stat`\n",
        ),
        (
            ["rm", CID],
            "content.remove",
            schema.ContentCollected(blocks=0, bytes=0, pins=0),
            schema.ContentParams(cid=CID),
            "removed nothing: all of it is kept for something else, see `nexus content stat`\n",
        ),
        (
            ["rm", CID],
            "content.remove",
            schema.ContentCollected(blocks=2, bytes=2048, pins=1, rooms=["general", "lab"]),
            schema.ContentParams(cid=CID),
            "removed 2 blocks, 2.0 KiB\nmessages of yours in general, lab refer to it\n",
        ),
        (
            ["gc", "--dry-run"],
            "content.collect",
            schema.ContentCollected(blocks=2, bytes=2048, pins=1),
            schema.ContentCollectParams(dry_run=True),
            "would remove 2 blocks, 2.0 KiB; 1 expired pin\n",
        ),
        (
            ["gc"],
            "content.collect",
            schema.ContentCollected(blocks=0, bytes=0, pins=0),
            schema.ContentCollectParams(),
            "removed 0 blocks, 0 B; 0 expired pins\n",
        ),
    ],
)
def test_command(nexus, daemon, args, method, answer, params, shown):
    daemon.script[method] = answer
    assert nexus("content", *args, tty=True).out == shown
    assert daemon.params(method) == params
    assert nexus("content", *args).data == msgspec.to_builtins(answer)


def test_pinning_fetches(nexus, daemon):
    daemon.script |= {"content.pin": PIN, "content.fetch": done()}
    shown = nexus("content", "pin", CID, "--class", "archival", "--as", "r", "--from", "bob", tty=True)
    assert shown.out == f"{CID} is kept: for ever\n"
    assert daemon.params("content.pin") == schema.ContentPinParams(cid=CID, name="r")
    assert daemon.params("content.fetch").peers == ["bob"]
    assert nexus("content", "pin", f"{CID}/path").error["code"] == "usage"


def test_putting_a_file(nexus, daemon, tmp_path):
    path = tmp_path / "report.pdf"
    path.write_bytes(os.urandom(limits.CONTENT_SPAN_BYTES + 5))
    taken = []

    def write(params, file):
        taken.append(os.pread(file, params.length, params.offset))
        return schema.ContentWritten(written=params.offset + len(taken[-1]))

    daemon.script |= {
        "content.begin": schema.ContentUpload(upload="u", written=0),
        "content.writeFrom": write,
        "content.finish": schema.ContentPut(cid=CID, size=5, total_size=9),
    }
    shown = nexus("content", "put", str(path), "--class", "mirrored", tty=True)
    assert (shown.out, shown.err) == (f"{CID}\n", "report.pdf: 5 B\n")
    assert b"".join(taken) == path.read_bytes()
    begun = daemon.params("content.begin")
    assert (begun.name, begun.retention, begun.staged, len(begun.key)) == ("report.pdf", "mirrored", False, 64)
    # what was taken before is not read again
    daemon.script["content.begin"] = schema.ContentUpload(upload="u", written=limits.CONTENT_SPAN_BYTES)
    daemon.asked.clear()
    assert nexus("content", "put", str(path)).data["cid"] == CID
    offsets = [params.offset for name, params in daemon.asked if name == "content.writeFrom"]
    assert offsets == [limits.CONTENT_SPAN_BYTES]
    assert daemon.params("content.begin").key == begun.key
    # of a file that is as long as what is asked for at once, the end shows with the next question
    path.write_bytes(bytes(limits.CONTENT_SPAN_BYTES))
    taken.clear()
    assert nexus("content", "put", str(path)).data["cid"] == CID
    assert list(map(len, taken)) == [0]


@pytest.mark.parametrize("why", ["method_not_found", "bad_file"])
def test_putting_a_file_where_the_daemon_does_not_take_it(nexus, daemon, tmp_path, why):
    """An older one does not know how, and one that has no descriptor left gets none."""
    path = tmp_path / "report.pdf"
    path.write_bytes(b"x" * (limits.CONTENT_PIECE_BYTES + 5))
    taken = io.BytesIO()

    def write(params):
        taken.seek(params.offset)
        taken.write(params.data)
        return schema.ContentWritten(written=taken.tell())

    daemon.script |= {
        "content.begin": schema.ContentUpload(upload="u", written=0),
        "content.writeFrom": lambda params, file: Refusal(why),
        "content.write": write,
        "content.finish": schema.ContentPut(cid=CID, size=5, total_size=9),
    }
    assert nexus("content", "put", str(path), "--class", "mirrored", tty=True).out == f"{CID}\n"
    assert taken.getvalue() == path.read_bytes()
    # what was taken before is not sent again
    daemon.script["content.begin"] = schema.ContentUpload(upload="u", written=limits.CONTENT_PIECE_BYTES)
    daemon.asked.clear()
    assert nexus("content", "put", str(path)).data["cid"] == CID
    assert [params.offset for name, params in daemon.asked if name == "content.write"] == [limits.CONTENT_PIECE_BYTES]
    assert taken.getvalue() == path.read_bytes()
    daemon.script["content.writeFrom"] = lambda params, file: Refusal("storage_full", "The disk is full")
    assert nexus("content", "put", str(path)).error["code"] == "storage_full", "which sending would not mend"


def test_putting_standard_input(nexus, daemon):
    daemon.script |= {
        "content.begin": schema.ContentUpload(upload="u", written=0),
        "content.write": schema.ContentWritten(written=5),
        "content.finish": schema.ContentPut(cid=CID, size=5, total_size=5),
    }
    assert nexus("content", "put", "-", "--format", "json", stdin=b"[1,2]").data["cid"] == CID
    assert daemon.params("content.begin") == schema.ContentBeginParams(format="json")
    assert daemon.params("content.write").data == b"[1,2]"


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [("nothing-there", "file_error", "No such file"), ("/dev/null", "usage", "neither a file nor a directory")],
)
def test_what_is_not_put(nexus, daemon, path, code, message):
    error = nexus("content", "put", path).error
    assert error["code"] == code
    assert message in error["message"]
    assert daemon.asked == []


def test_getting_a_file(nexus, daemon, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    daemon.script |= holding(b"content")
    shown = nexus("content", "get", CID, tty=True)
    assert shown.out == "report.pdf: 7 B, 7 B fetched\n", "its own name, which a pin knows"
    assert (tmp_path / "report.pdf").read_bytes() == b"content"
    assert nexus("content", "get", CID).error["message"] == "report.pdf is there already"
    daemon.script["content.stat"] = msgspec.structs.replace(
        FILE, pins=[msgspec.structs.replace(PASSING, name="referred"), PIN]
    )
    assert nexus("content", "get", CID, "--force").data["path"] == "report.pdf", "the name that its user gave it"
    assert nexus("content", "get", CID, "--force").data["path"] == "report.pdf"
    assert nexus("content", "get", CID, "-o", "other.txt", "--from", "bob").data["bytes"] == 7
    assert daemon.params("content.readInto").peers == ["bob"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.txt", "report.pdf"]
    assert nexus("content", "get", CID, "-o", "no/such/place").error["message"] == "there is no directory no/such"
    (tmp_path / "link").symlink_to("elsewhere")
    assert nexus("content", "get", CID, "-o", "link").error["code"] == "usage"
    assert nexus("content", "get", CID, "-o", "-").out == "content"


def test_getting_a_file_from_a_daemon_that_does_not_take_open_ones(nexus, daemon, tmp_path):
    daemon.script |= holding(b"content")
    del daemon.script["content.readInto"]
    assert nexus("content", "get", CID, "-o", str(tmp_path / "x")).data["bytes"] == 7
    assert (tmp_path / "x").read_bytes() == b"content"


def stops(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


STOPPED = {
    ("put", "report.pdf"): ("put_file", "what was put of report.pdf stays for an hour; the same command goes on from"),
    ("put", "-"): ("put_stream", "nothing was put: it is begun anew"),
    ("get", CID, "-o", "copy"): ("fetch", "what came of it stays for a day; the same command goes on from there"),
    ("get", CID, "-o", "copy", "--force"): ("save", "nothing was written; all of it stays here for a day; the same"),
    ("pin", CID): ("fetch", "it is kept as far as it came; the same command goes on from there"),
}


@pytest.mark.parametrize("args", STOPPED, ids=" ".join)
def test_stopped_by_the_person_who_typed_it(nexus, daemon, tmp_path, monkeypatch, args):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.pdf").write_bytes(b"x")
    daemon.script |= holding(b"content") | {"content.pin": PIN}
    function, told = STOPPED[args]
    monkeypatch.setattr(content, function, stops)
    ran = nexus("content", *args, tty=True, stdin=b"x" if args[-1] == "-" else None)
    assert (ran.code, ran.out) == (1, "")
    assert f"stopped: {told}" in ran.err
    assert nexus("--json", "content", *args, stdin=b"x").err == "", "a program knows what it did"


def test_getting_a_file_in_several_parts(nexus, daemon, tmp_path):
    data = os.urandom(2 * limits.CONTENT_SPAN_BYTES + 1)
    daemon.script |= holding(data)
    assert nexus("content", "get", CID, "-o", str(tmp_path / "x")).data["bytes"] == len(data)
    assert (tmp_path / "x").read_bytes() == data


def test_a_fetch_that_takes_its_time(nexus, daemon, tmp_path):
    states = [done(), done()]
    states[0] = msgspec.structs.replace(states[0], done=False, bytes=3)
    daemon.script |= holding(b"content")
    daemon.script["content.fetch"] = lambda params: states.pop(0)
    assert nexus("content", "get", CID, "-o", str(tmp_path / "x")).data["kind"] == "file"
    assert states == []
    daemon.script["content.fetch"] = Refusal("content_not_found", "Nobody who was asked has it")
    error = nexus("content", "get", CID, "-o", str(tmp_path / "y")).error
    assert (error["code"], error["exitCode"]) == ("content_not_found", 2)


@pytest.mark.parametrize("handed", [True, False])
def test_a_file_that_ends_early_is_not_written(nexus, daemon, tmp_path, handed):
    daemon.script |= holding(b"content")
    daemon.script["content.read"] = lambda params: schema.ContentRead(data=b"abc"[params.offset :], size=7)
    daemon.script["content.readInto"] = lambda params, file: (
        schema.ContentReadInto(read=3 if params.offset == 0 else 0, size=7) if handed else Refusal("bad_file")
    )
    assert nexus("content", "get", CID, "-o", str(tmp_path / "x")).error["code"] == "bad_content"
    assert list(tmp_path.iterdir()) == []


def test_values_are_printed(nexus, daemon):
    link = Cid.of(DAG_CBOR, b"\xa0")
    record = dag_cbor.encode({"link": link, "bytes": b"\x00\xff", "list": [1, None]})
    daemon.script |= holding(record)
    daemon.script["content.stat"] = msgspec.structs.replace(FILE, kind="dag-cbor")
    got = nexus("content", "get", CID).data
    assert got["value"] == {"link": {"/": str(link)}, "bytes": {"/": {"bytes": "AP8"}}, "list": [1, None]}
    assert got["path"] is None
    daemon.script |= holding(b'{"text":"a\\u001b[2J","n":1}')
    daemon.script["content.stat"] = msgspec.structs.replace(FILE, kind="json")
    shown = nexus("content", "get", CID, tty=True)
    assert "\x1b" not in shown.out
    assert '"n": 1' in shown.out
    daemon.script |= holding(b"\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00")  # a float, which others may write
    daemon.script["content.stat"] = msgspec.structs.replace(FILE, kind="dag-cbor")
    assert nexus("content", "get", CID).data["value"] == {"/": {"bytes": "+z/4AAAAAAAA"}}
