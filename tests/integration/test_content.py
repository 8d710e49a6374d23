"""Content put, got and kept by the command line, on three daemons."""

from __future__ import annotations

import base64
import filecmp
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from nexusd.client import Nexus, NexusError, content
from nexusd_protocols import limits
from nexusd_protocols.content.cid import JSON, RAW, Cid
from nexusd_protocols.rpc.schema import ContentFetchParams, ContentPut
from tests.harness.daemon import Daemon, Home, connect, meet
from tests.harness.process import poll

MIB = 1 << 20
SPAN = limits.CONTENT_SPAN_BYTES
LEAF = 256 << 10


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A file of several leaves, and never the same twice."""
    path = tmp_path / "report.pdf"
    path.write_bytes(os.urandom(3 * MIB + 16))
    return path


def test_a_file_goes_from_one_host_to_another(alice: Daemon, bob: Daemon, report: Path, tmp_path: Path) -> None:
    put = alice.cli("content", "put", str(report))
    assert put["cid"].startswith("bafybei")
    assert (put["size"], put["files"]) == (report.stat().st_size, 1)
    assert alice.cli("content", "put", str(report)) == put
    copy = tmp_path / "copy.pdf"
    got = bob.cli("content", "get", put["cid"], "-o", str(copy))
    assert filecmp.cmp(report, copy, shallow=False)
    assert (got["path"], got["bytes"]) == (str(copy), put["size"])
    assert got["fetched"] >= put["size"]
    # the second time nobody is asked
    again = bob.cli("content", "get", put["cid"], "-o", str(tmp_path / "again.pdf"))
    assert again["fetched"] == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_there_is_not_written_over(alice: Daemon, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "in.txt").write_text("theirs")
    cid = alice.cli("content", "put", str(tmp_path / "in.txt"))["cid"]
    refused = alice.cli_error("content", "get", cid, "-o", str(tmp_path / "note.txt"))
    assert refused["code"] == "usage"
    assert (tmp_path / "note.txt").read_text() == "mine"
    alice.cli("content", "get", cid, "-o", str(tmp_path / "note.txt"), "--force")
    assert (tmp_path / "note.txt").read_text() == "theirs"
    # a directory to put it into; its own name is known here
    (tmp_path / "sub").mkdir()
    got = alice.cli("content", "get", cid, "-o", str(tmp_path / "sub"))
    assert got["path"] == str(tmp_path / "sub" / "in.txt")
    done = alice.home.run(alice.argv("content", "get", cid, "-o", "-"))
    assert done.stdout == "theirs"


def test_directories_both_ways(alice: Daemon, bob: Daemon, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "docs" / "empty").mkdir(parents=True)
    (tree / "docs" / "Grüße.txt").write_text("hallo")
    (tree / "big.bin").write_bytes(os.urandom(600_000))
    (tree / "none").touch()
    (tree / "link").symlink_to("/etc/passwd")
    os.mkfifo(tree / "pipe")
    put = alice.cli("content", "put", str(tree))
    assert put["files"] == 3
    assert put["skipped"] == [str(tree / "link"), str(tree / "pipe")]

    listed = {entry["name"]: entry for entry in bob.cli("content", "ls", put["cid"])["entries"]}
    assert list(listed) == ["big.bin", "docs", "none"]
    one = bob.cli("content", "get", f"/ipfs/{put['cid']}/docs/Grüße.txt", "-o", str(tmp_path / "one.txt"))
    assert (tmp_path / "one.txt").read_text() == "hallo"
    assert one["bytes"] == 5

    copy = tmp_path / "copy"
    bob.cli("content", "get", put["cid"], "-o", str(copy))
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*")) == [
        "big.bin",
        "docs",
        "docs/Grüße.txt",
        "docs/empty",
        "none",
    ]
    assert filecmp.cmp(tree / "big.bin", copy / "big.bin", shallow=False)
    assert bob.cli_error("content", "get", put["cid"], "-o", str(copy))["code"] == "usage"
    missing = bob.cli_error("content", "get", f"{put['cid']}/docs/nothing", "-o", str(tmp_path / "x"))
    assert missing["code"] == "bad_content"


def test_what_the_published_store_makes(alice: Daemon, bob: Daemon, tmp_path: Path) -> None:
    """JSON under the codec json, text as a raw block: as `store` of open-agents-nexus makes them."""
    (tmp_path / "profile.json").write_text('{ "name": "alice", "tags": ["a", 1.0], "2": null }')
    cid = alice.cli("content", "put", str(tmp_path / "profile.json"), "--format", "json")["cid"]
    assert cid == str(Cid.of(JSON, b'{"2":null,"name":"alice","tags":["a",1]}'))
    assert bob.cli("content", "get", cid)["value"] == {"2": None, "name": "alice", "tags": ["a", 1]}
    text = alice.cli("content", "put", "-", stdin="just text")["cid"]
    assert text == str(Cid.of(RAW, b"just text"))
    assert bob.home.run(bob.argv("content", "get", text, "-o", "-")).stdout == "just text"
    wrong = alice.cli_error("content", "put", "-", "--format", "json", stdin="{no json")
    assert wrong["code"] == "bad_content"


def test_keeping_and_removing(alice: Daemon, report: Path) -> None:
    cid = alice.cli("content", "put", str(report), "--class", "retained")["cid"]

    def kept() -> dict:
        return {pin["cid"]: pin for pin in alice.cli("content", "ls")["pins"]}

    pin = kept()[cid]
    assert (pin["owner"], pin["retention"], pin["name"]) == ("user", "retained", "report.pdf")
    assert pin["expiresAt"] - pin["createdAt"] == 7 * 86_400_000
    alice.cli("content", "pin", cid, "--class", "archival")
    assert kept()[cid]["expiresAt"] == 0
    assert kept()[cid]["name"] == "report.pdf"
    stat = alice.cli("content", "stat", cid)
    assert (stat["kind"], stat["size"], stat["complete"]) == ("file", report.stat().st_size, True)
    before = alice.cli("storage")
    alice.cli("content", "unpin", cid)
    assert cid not in kept()
    assert alice.cli_error("content", "unpin", cid)["code"] == "not_pinned"
    # it was stored within the hour, so that no collection takes it yet
    assert alice.cli("content", "gc", "--dry-run")["blocks"] == alice.cli("content", "gc")["blocks"]
    assert alice.cli("content", "stat", cid)["complete"] is True
    gone = alice.cli("content", "rm", cid)
    assert gone["bytes"] >= report.stat().st_size
    assert alice.cli("storage")["bytes"] == before["bytes"] - gone["bytes"]
    assert alice.cli_error("content", "rm", cid)["code"] == "content_not_found"


def test_nobody_has_it(bob: Daemon) -> None:
    nowhere = str(Cid.of(RAW, os.urandom(16)))
    for command in (("get", nowhere), ("stat", nowhere), ("pin", nowhere), ("get", nowhere, "--from", bob.peer_id)):
        refused = bob.cli_error("content", *command)
        assert (refused["code"], refused["exitCode"]) == ("content_not_found", 2)
    for text in ("hello", nowhere[:-1], nowhere.upper(), "Qm" + "1" * 44):
        assert bob.cli_error("content", "stat", text)["code"] == "invalid_cid"
    bob.cli("content", "unpin", nowhere)


@pytest.fixture
def pair(own_home: Home) -> Iterator[tuple[Daemon, Daemon]]:
    """Two daemons for a test that stops or damages one."""
    with Daemon("dora", own_home) as dora, Daemon("emil", own_home) as emil:
        connect(emil, dora)
        yield dora, emil


class StopError(Exception):
    """Enough."""


@pytest.mark.parametrize("handed", [True, False], ids=["handed over", "in pieces"])
def test_a_put_goes_on_where_it_was(alice: Daemon, tmp_path: Path, handed: bool) -> None:
    step = SPAN if handed else MIB
    path = tmp_path / "long.bin"
    path.write_bytes(os.urandom(5 * step + 17))
    sent: list[int] = []

    def stop(written: int) -> None:
        sent.append(written)
        if written >= 2 * step:
            raise StopError

    def put_it(nexus: Nexus, progress: Callable[[int], None]) -> ContentPut:
        if handed:
            return content.put_file(nexus, path, progress=progress)
        with path.open("rb") as file:
            return content.put_stream(nexus, file, key=str(path), progress=progress)

    with Nexus.connect(data_dir=alice.data_dir) as nexus, pytest.raises(StopError):
        put_it(nexus, stop)
    with Nexus.connect(data_dir=alice.data_dir) as nexus:
        resumed: list[int] = []
        put = put_it(nexus, resumed.append)
        assert sent == [0, step, 2 * step]
        assert 2 * step <= resumed[0] <= 5 * step, "what was on its way counts, too"
        assert resumed[-1] == path.stat().st_size
        copy = tmp_path / "copy.bin"
        content.save(nexus, put.cid, copy)
        assert filecmp.cmp(path, copy, shallow=False)
        # another file by that name is another put
        path.write_bytes(os.urandom(MIB))
        assert content.put_file(nexus, path, progress=resumed.append).cid != put.cid


def test_whoever_stops_a_command_is_told_what_became_of_it(alice: Daemon) -> None:
    before = alice.rpc("storage.show")["uploads"]
    putting = alice.spawn_cli("content", "put", "-")  # of what never ends
    poll(lambda: alice.rpc("storage.show")["uploads"] > before, "it has begun")
    assert putting.interrupt() == 1
    assert putting.log.read_text() == "\nstopped: nothing was put: it is begun anew\n"
    assert alice.rpc("storage.show")["uploads"] == before, "nobody can go on with it"


def test_a_put_that_a_restart_interrupted_writes_nothing_twice(own_home: Home, tmp_path: Path) -> None:
    """The daemon knows nothing of it any more, and reads the file again; what is stored of it stays as it is."""
    path = tmp_path / "long.bin"
    path.write_bytes(os.urandom(3 * SPAN))

    def stop(written: int) -> None:
        if written == 2 * SPAN:
            raise StopError

    with Daemon("dora", own_home) as dora:
        with Nexus.connect(data_dir=dora.data_dir) as nexus, pytest.raises(StopError):
            content.put_file(nexus, path, progress=stop)
        dora.restart()
        before = dora.rpc("storage.show")["blocks"]
        assert before >= 2 * SPAN // LEAF
        # bytes that were given to the system to write, whatever disk is below: those of the log, and of the file
        written = process_of(dora).io_counters().write_chars
        put = dora.cli("content", "put", str(path))
        dora.rpc("content.collect")
        written = process_of(dora).io_counters().write_chars - written
        assert SPAN < written < 3 * SPAN, "one span is new, and goes through the log"
        assert put["size"] == 3 * SPAN
        assert dora.cli("content", "stat", put["cid"])["complete"] is True
        # and of all of it there is nothing left to write
        dora.restart()
        written = process_of(dora).io_counters().write_chars
        assert dora.cli("content", "put", str(path)) == put
        assert process_of(dora).io_counters().write_chars - written < SPAN // 8


def process_of(daemon: Daemon) -> psutil.Process:
    return psutil.Process(daemon.pid)


def test_a_get_goes_on_where_it_was(pair: tuple[Daemon, Daemon], tmp_path: Path) -> None:
    dora, emil = pair
    path = tmp_path / "long.bin"
    path.write_bytes(os.urandom(60 * MIB))
    put = dora.cli("content", "put", str(path), timeout=120)
    with Nexus.connect(data_dir=emil.data_dir) as nexus:
        params = ContentFetchParams(cid=put["cid"], wait_ms=0)
        poll(lambda: nexus.call("content.fetch", params).fetched > 5 * MIB, "some of it", every=0.01)
    emil.kill9()
    emil.start()
    here = emil.rpc("storage.show")["bytes"]
    assert 5 * MIB < here < 60 * MIB
    connect(emil, dora)
    got = emil.cli("content", "get", put["cid"], "-o", str(tmp_path / "copy.bin"), timeout=120)
    assert filecmp.cmp(path, tmp_path / "copy.bin", shallow=False)
    # what was there was not fetched again; `here` counts a few small blocks besides
    assert 0 <= got["fetched"] - (put["totalSize"] - here) < 10_000


def test_several_have_it(pair: tuple[Daemon, Daemon], own_home: Home, report: Path, tmp_path: Path) -> None:
    dora, emil = pair
    cid = dora.cli("content", "put", str(report))["cid"]
    emil.cli("content", "pin", cid)
    with Daemon("finn", own_home) as finn:
        connect(finn, emil)
        connect(finn, dora)
        got = finn.cli("content", "get", cid, "-o", str(tmp_path / "copy"))
        assert filecmp.cmp(report, tmp_path / "copy", shallow=False)
        # each leaf once, and not from each of them
        assert got["fetched"] < 1.1 * report.stat().st_size


def test_a_damaged_block_is_found_and_had_again(pair: tuple[Daemon, Daemon], report: Path, tmp_path: Path) -> None:
    dora, emil = pair
    cid = dora.cli("content", "put", str(report))["cid"]
    dora.stop()
    leaf = Cid.of(RAW, report.read_bytes()[MIB : MIB + 262_144])
    database = sqlite3.connect(dora.data_dir / "nexusd-blocks.sqlite")
    changed = database.execute(
        "UPDATE block_data SET data = randomblob(length(data)) WHERE id = (SELECT data FROM blocks WHERE digest = ?)",
        (leaf.digest,),
    )
    assert changed.rowcount == 1
    database.commit()
    database.close()
    dora.start()
    connect(dora, emil)

    # nobody is given it: not a peer, and not its owner
    for daemon in (emil, dora):
        with pytest.raises(NexusError) as caught:
            daemon.rpc("content.read", cid=cid, offset=MIB, length=1000, waitMs=2000)
        assert caught.value.code in ("content_not_found", "timeout")
        data = daemon.rpc("content.read", cid=cid, offset=MIB - 1000, length=1000)["data"]
        assert base64.b64decode(data) == report.read_bytes()[MIB - 1000 : MIB]
    shown = dora.cli("storage")
    assert (shown["damagedCount"], shown["damaged"]) == (1, [str(leaf)])
    assert dora.cli("content", "stat", cid)["complete"] is False

    # it is there again as soon as somebody has it
    assert emil.cli("content", "put", str(report))["cid"] == cid
    dora.cli("content", "get", cid, "-o", str(tmp_path / "copy"))
    assert filecmp.cmp(report, tmp_path / "copy", shallow=False)
    assert dora.cli("storage")["damagedCount"] == 0
    assert dora.cli("content", "stat", cid)["complete"] is True


def test_what_messages_refer_to_is_kept_for_the_room(alice: Daemon, bob: Daemon, own_home: Home, report: Path) -> None:
    room = "library"
    with Daemon("gwen", own_home, "--no-autopin") as gwen:
        connect(gwen, alice)
        meet(room, alice, bob, gwen)
        cid = alice.cli("content", "put", str(report))["cid"]
        alice.cli("room", "send", room, "see this", "--reference", cid)

        def kept(daemon: Daemon) -> list[str]:
            pins = daemon.rpc("content.list", everything=True, limit=500)["pins"]
            return [pin["owner"] for pin in pins if pin["cid"] == cid]

        poll(lambda: kept(bob) == [f"room:{room}"] and bob.rpc("content.stat", cid=cid)["complete"], "kept by bob")
        poll(lambda: gwen.rpc("room.history", room=room)["messages"], "the message at gwen's")
        assert kept(gwen) == []
        assert gwen.cli("storage")["autopin"] is False
        assert bob.cli("storage")["others"] >= report.stat().st_size
    alice.cli("content", "rm", cid)
    # its author has it no more, and can have it again
    assert alice.cli("content", "stat", cid)["complete"] is False
    assert alice.cli("content", "pin", cid)["cid"] == cid
    assert alice.cli("content", "stat", cid)["complete"] is True


def test_whoever_has_it_is_found(pair: tuple[Daemon, Daemon], own_home: Home, report: Path, tmp_path: Path) -> None:
    """finn knows emil only, who has nothing, and learns from the DHT that dora has it, and where she is."""
    dora, emil = pair
    cid = dora.cli("content", "put", str(report))["cid"]
    with Daemon("finn", own_home) as finn:
        connect(finn, emil)

        def got() -> bool:
            done = finn.home.run(finn.argv("content", "get", cid, "-o", str(tmp_path / "copy")), timeout=60)
            return done.returncode == 0

        poll(got, "the file, once dora's word is in the DHT", 60, every=0.5)
        assert filecmp.cmp(report, tmp_path / "copy", shallow=False)
        assert dora.peer_id in finn.connected()
