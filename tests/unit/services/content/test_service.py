"""Put, got, kept and removed, with a store on disk and peers in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from nexusd.store.errors import QuotaExceededError
from nexusd_protocols import limits
from nexusd_protocols.content import dag_cbor, unixfs
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, DAG_PB, RAW, Cid
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ndjson import encode
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.filebytes import built
from tests.unit.store.messages import message

HOUR_MS = 3_600_000


def code(answer: object) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.code


async def test_what_is_put_is_on_disk_kept_and_announced(hosts):
    alice = await hosts("alice")
    data = os.urandom(700_000)
    cid = await alice.put(data, name="report.pdf", retention="retained")
    assert cid == str(built(data)[0])
    assert await alice.get(cid) == data
    pin = (await alice.kept())[cid]
    assert (pin.owner, pin.name, pin.retention, pin.size > 700_000) == ("user", "report.pdf", "retained", True)
    assert pin.expires_at - pin.created_at == 7 * 24 * HOUR_MS
    await trio.testing.wait_all_tasks_blocked()
    assert alice.exchange.swarm.provided[cid] == [alice.peer]
    assert {str(block) for block in built(data)[1]} == {str(cid) for cid in alice.exchange.told}


async def test_an_interrupted_put_goes_on(hosts):
    alice = await hosts("alice")
    data = os.urandom(limits.MIB + 300_000)
    begin = schema.ContentBeginParams(key="k")
    first = await alice.content.begin(begin)
    await alice.content.write(schema.ContentWriteParams(upload=first.upload, offset=0, data=data[: limits.MIB]))
    again = await alice.content.begin(begin)
    assert (again.upload, again.written, again.done) == (first.upload, limits.MIB, None)
    cid = await alice.put(data, key="k")
    assert cid == str(built(data)[0])
    # put once more, it is known; and after it was removed it is not
    done = await alice.content.begin(begin)
    assert done.done.cid == cid
    await alice.content.remove(schema.ContentParams(cid=cid))
    assert (await alice.content.begin(begin)).done is None


async def test_pieces_on_two_connections_wait_for_one_another(hosts, autojump_clock: MockClock):
    alice = await hosts("alice")
    data = os.urandom(3 * limits.MIB)
    upload = (await alice.content.begin(schema.ContentBeginParams())).upload

    async def write(at: int) -> object:
        piece = data[at : at + limits.MIB]
        return await alice.content.write(schema.ContentWriteParams(upload=upload, offset=at, data=piece))

    async with trio.open_nursery() as nursery:
        for at in (2 * limits.MIB, limits.MIB, 0):
            nursery.start_soon(write, at)
            await trio.testing.wait_all_tasks_blocked()
    put = await alice.content.finish(schema.ContentUploadParams(upload=upload))
    assert put.cid == str(built(data)[0])
    # those before them never come
    other = (await alice.content.begin(schema.ContentBeginParams())).upload
    began = trio.current_time()
    late = schema.ContentWriteParams(upload=other, offset=1, data=b"x")
    assert code(await alice.content.write(late)) == "bad_offset"
    assert 10 <= trio.current_time() - began < 20


class Bytes:
    """A file of whoever asks. `shrinks` gives what is left of it after so many reads."""

    def __init__(self, data: bytes = b"", shrinks: dict[int, int] | None = None) -> None:
        self.data = bytearray(data)
        self._shrinks = shrinks or {}
        self.reads = 0

    async def read_at(self, offset: int, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        del self.data[self._shrinks.get(self.reads, len(self.data)) :]
        return bytes(self.data[offset : offset + size])

    async def write_at(self, offset: int, pieces: Sequence[bytes]) -> None:
        await trio.lowlevel.checkpoint()
        for piece in pieces:
            assert len(self.data) >= offset, "no hole"
            self.data[offset : offset + len(piece)] = piece
            offset += len(piece)


async def test_a_file_is_put_out_of_an_open_one(hosts):
    alice = await hosts("alice")
    data = os.urandom(limits.CONTENT_SPAN_BYTES + 700_000)
    file = Bytes(data)
    upload = (await alice.content.begin(schema.ContentBeginParams())).upload

    async def write(offset: int, **fields: object) -> object:
        return await alice.content.write_from(
            schema.ContentWriteFromParams(upload=upload, offset=offset, **fields), file
        )

    assert (await write(0, length=5)).written == 5
    assert (await write(5)).written == limits.CONTENT_SPAN_BYTES + 5
    assert (await write(limits.CONTENT_SPAN_BYTES + 5)).written == len(data)
    assert (await write(len(data))).written == len(data), "it has ended"
    refused = await write(0)
    assert (code(refused), refused.data) == ("bad_offset", {"written": len(data)})
    put = await alice.content.finish(schema.ContentUploadParams(upload=upload))
    assert put.cid == str(built(data)[0])
    assert code(await write(0)) == "upload_unknown"


async def test_a_file_that_is_cut_while_it_is_read(hosts):
    alice = await hosts("alice")
    data = os.urandom(3 * limits.MIB)
    upload = (await alice.content.begin(schema.ContentBeginParams())).upload
    file = Bytes(data, shrinks={3: 2 * limits.MIB + 10})
    params = schema.ContentWriteFromParams(upload=upload, offset=0)
    assert (await alice.content.write_from(params, file)).written == 2 * limits.MIB + 10
    put = await alice.content.finish(schema.ContentUploadParams(upload=upload))
    assert put.cid == str(built(data[: 2 * limits.MIB + 10])[0])


async def test_a_file_is_read_into_an_open_one(hosts):
    alice, bob = await hosts("alice"), await hosts("bob")
    data = os.urandom(limits.CONTENT_SPAN_BYTES + 1)
    cid = await alice.put(data)
    file = Bytes()

    async def read(host, cid: str, **fields: object) -> object:
        return await host.content.read_into(schema.ContentReadIntoParams(cid=cid, **fields), file)

    found = await read(bob, cid)
    assert (found.read, found.size) == (limits.CONTENT_SPAN_BYTES, len(data))
    assert (await read(bob, cid, offset=found.read)).read == 1
    assert file.data == data
    assert (await read(bob, cid, offset=len(data))).read == 0
    assert (await read(bob, cid, offset=1_000_000, length=10)).read == 10
    assert file.data == data
    assert code(await read(bob, "nonsense")) == "invalid_cid"
    empty = await alice.put(b"")
    assert (await read(alice, empty)) == schema.ContentReadInto(read=0, size=0)


async def test_what_a_put_refuses(hosts):
    alice = await hosts("alice")
    upload = (await alice.content.begin(schema.ContentBeginParams())).upload

    async def write(number: str, offset: int, size: int) -> object:
        return await alice.content.write(schema.ContentWriteParams(upload=number, offset=offset, data=b"x" * size))

    assert code(await write("nobody's", 0, 1)) == "upload_unknown"
    assert code(await write(upload, 1 << 40, 1)) == "bad_offset"
    assert code(await write(upload, 0, limits.CONTENT_PIECE_BYTES + 1)) == "too_large"
    assert (await write(upload, 0, 1)).written == 1
    refused = await write(upload, 0, 1)
    assert (code(refused), refused.data) == ("bad_offset", {"written": 1})
    await alice.content.abort(schema.ContentUploadParams(upload=upload))
    assert code(await alice.content.finish(schema.ContentUploadParams(upload=upload))) == "upload_unknown"
    for text in (b"{no json", b"[" * 100_000, b'"\xff"'):
        json = (await alice.content.begin(schema.ContentBeginParams(format="json"))).upload
        await alice.content.write(schema.ContentWriteParams(upload=json, offset=0, data=text))
        assert code(await alice.content.finish(schema.ContentUploadParams(upload=json))) == "bad_content"


async def test_puts_under_way_are_bounded_and_forgotten_when_nobody_goes_on(hosts):
    alice = await hosts("alice")
    answers = [await alice.content.begin(schema.ContentBeginParams()) for _ in range(257)]
    assert code(answers[-1]) == "busy"
    alice.now[0] += HOUR_MS + 1
    assert isinstance(await alice.content.begin(schema.ContentBeginParams()), schema.ContentUpload)
    assert (await alice.content.show()).uploads == 1


async def test_a_range_is_read_without_the_rest(hosts):
    alice, bob = await hosts("alice"), await hosts("bob")
    data = os.urandom(2_000_000)
    cid = await alice.put(data)
    found = await bob.content.read(schema.ContentReadParams(cid=cid, offset=1_000_000, length=10))
    assert (found.data, found.size) == (data[1_000_000:1_000_010], 2_000_000)
    assert len(alice.exchange.given) == 2
    assert (await bob.content.read(schema.ContentReadParams(cid=cid, offset=3_000_000))).data == b""
    assert code(await bob.content.read(schema.ContentReadParams(cid="nonsense"))) == "invalid_cid"
    assert code(await bob.content.read(schema.ContentReadParams(cid=cid, peers=["nobody"]))) == "unknown_peer"


async def test_directories(hosts):
    alice = await hosts("alice")
    inside = await alice.put(b"inside", name="in.txt", staged=True)
    assert (await alice.kept())[inside].owner == "upload"
    entries = [schema.ContentEntry(name="in.txt", cid=inside)]
    made = await alice.content.directory(schema.ContentDirectoryParams(entries=entries, name="docs"))
    assert set(await alice.kept()) == {made.cid}, "it keeps what is in it"
    found = await alice.content.stat(schema.ContentStatParams(cid=made.cid, path="in.txt"))
    assert (found.cid, found.kind, found.size, found.complete) == (inside, "file", 6, True)
    shown = await alice.content.stat(schema.ContentStatParams(cid=made.cid))
    assert (shown.kind, [entry.name for entry in shown.entries], shown.total_size) == (
        "directory",
        ["in.txt"],
        made.total_size,
    )
    for path, refusal in (
        ("nothing", "bad_content"),
        ("in.txt/more", "bad_content"),
        ("/".join("a" * 100), "bad_content"),
    ):
        assert code(await alice.content.stat(schema.ContentStatParams(cid=made.cid, path=path))) == refusal
    assert code(await alice.content.read(schema.ContentReadParams(cid=made.cid))) == "bad_content"

    async def directory(name: str, cid: str) -> str:
        entries = [schema.ContentEntry(name=name, cid=cid)]
        return code(await alice.content.directory(schema.ContentDirectoryParams(entries=entries)))

    assert await directory("..", inside) == "invalid_name"
    assert await directory("a", str(Cid.of(RAW, b"nowhere"))) == "content_not_found"
    assert await directory("a", "nonsense") == "invalid_cid"


async def test_a_large_directory_comes_in_pages(hosts):
    alice = await hosts("alice")
    leaf = Block.of(RAW, b"leaf")
    # names that another host made: JSON makes six characters of each
    links = [unixfs.dag_pb.Link(leaf.cid, f"{number:04}" + "\x01" * 200, 4) for number in range(3000)]
    raw = unixfs.dag_pb.encode(links, unixfs.pb.Data(Type=unixfs.pb.Data.Directory).SerializeToString())
    root = Block.of(DAG_PB, raw, [leaf.cid])
    await alice.content.keep(alice.agent, "user", [leaf, root], "archival")
    names, skip, pages = [], 0, 0
    while True:
        found = await alice.content.stat(schema.ContentStatParams(cid=str(root.cid), skip=skip))
        assert len(encode(found)) < limits.RPC_LINE_BYTES // 2
        names += [entry.name for entry in found.entries]
        skip, pages = skip + len(found.entries), pages + 1
        if not found.more:
            break
    assert names == [link.name for link in links]
    assert pages > 2


async def test_what_says_that_it_is_larger_than_any_disk(hosts):
    alice, bob = await hosts("alice"), await hosts("bob")
    leaf = Block.of(RAW, b"leaf")
    links = [unixfs.dag_pb.Link(leaf.cid, name, (1 << 64) - 1) for name in "ab"]
    raw = unixfs.dag_pb.encode(links, unixfs.pb.Data(Type=unixfs.pb.Data.Directory).SerializeToString())
    root = Block.of(DAG_PB, raw, [leaf.cid])
    await alice.content.keep(alice.agent, "user", [leaf, root], "archival")
    cid = str(root.cid)
    found = await bob.content.fetch(schema.ContentFetchParams(cid=cid, wait_ms=5000))
    assert found.done, found
    assert isinstance(await bob.content.pin(schema.ContentPinParams(cid=cid)), schema.ContentPin)
    assert encode(await bob.content.stat(schema.ContentStatParams(cid=cid)))
    assert all(encode(event.data) for event in bob.events)
    assert await bob.content.show(), "the sums of what is kept are numbers still"


async def test_what_is_not_a_file(hosts):
    alice = await hosts("alice")
    record = Block.of(DAG_CBOR, dag_cbor.encode({"a": Cid.of(RAW, b"x")}), [Cid.of(RAW, b"x")])
    await alice.content.keep(alice.agent, "directory", [record], "archival", "a record")
    found = await alice.content.stat(schema.ContentStatParams(cid=str(record.cid)))
    assert (found.kind, found.size, found.complete) == ("dag-cbor", len(record.data), False)
    assert await alice.get(str(record.cid)) == record.data
    odd = Block.of(DAG_PB, b"")
    await alice.content.keep(alice.agent, "directory", [odd], "archival")
    assert (await alice.content.stat(schema.ContentStatParams(cid=str(odd.cid)))).note == "dag-pb"


async def test_a_file_that_lies_about_its_sizes(hosts):
    alice = await hosts("alice")
    about = unixfs.pb.Data(Type=unixfs.pb.Data.File, filesize=9, blocksizes=[9])
    leaf = Block.of(RAW, b"short")
    raw = unixfs.dag_pb.encode([unixfs.dag_pb.Link(leaf.cid, "", 9)], about.SerializeToString())
    root = Block.of(DAG_PB, raw, [leaf.cid])
    await alice.content.keep(alice.agent, "user", [leaf, root], "archival")
    assert code(await alice.get(str(root.cid))) == "bad_content"


async def test_keeping_ends(hosts):
    alice = await hosts("alice")
    data = os.urandom(300_000)
    cid = await alice.put(data, retention="ephemeral")
    shared = await alice.put(data + b"!", retention="archival")  # the first leaf is the same
    assert (await alice.content.collect(schema.ContentCollectParams())).blocks == 0
    alice.now[0] += 2 * HOUR_MS
    would = await alice.content.collect(schema.ContentCollectParams(dry_run=True))
    gone = await alice.content.collect(schema.ContentCollectParams())
    assert (gone.pins, gone.blocks) == (1, 2)
    assert (would.pins, would.blocks) in ((1, 2), (1, 0))
    assert await alice.get(shared) == data + b"!"
    assert not (await alice.content.stat(schema.ContentStatParams(cid=shared))).pins[0].expires_at
    assert code(await alice.content.stat(schema.ContentStatParams(cid=cid))) == "content_not_found"


async def test_the_dht_is_told_no_more_of_what_is_over(hosts, autojump_clock: MockClock):
    alice = await hosts("alice")
    cid = await alice.put(b"for an hour", retention="ephemeral")
    await trio.testing.wait_all_tasks_blocked(0.1)
    assert alice.exchange.swarm.provided[cid] == [alice.peer]
    alice.now[0] += HOUR_MS
    await trio.sleep(61)
    assert alice.exchange.swarm.provided[cid] == []


async def test_no_collection_takes_what_a_put_has_stored(hosts):
    alice = await hosts("alice")
    data = os.urandom(limits.MIB)
    upload = (await alice.content.begin(schema.ContentBeginParams())).upload
    await alice.content.write(schema.ContentWriteParams(upload=upload, offset=0, data=data))
    for _ in range(20):
        alice.now[0] += HOUR_MS // 2
        await alice.content.write(schema.ContentWriteParams(upload=upload, offset=len(data), data=b"x"))
        data += b"x"
        assert (await alice.content.collect(schema.ContentCollectParams())).blocks == 0
    put = await alice.content.finish(schema.ContentUploadParams(upload=upload))
    assert await alice.get(put.cid) == data


async def test_removing_spares_what_a_put_under_way_has_and_nothing_else(hosts):
    """However long ago that put began: it may have been given up, and be remembered to be gone on with."""
    alice = await hosts("alice")
    data = os.urandom(600_000)
    given_up = await alice.content.begin(schema.ContentBeginParams(key="k"))
    params = schema.ContentWriteParams(upload=given_up.upload, offset=0, data=data[: unixfs.CHUNK_BYTES])
    await alice.content.write(params)
    whole, other = await alice.put(data), await alice.put(os.urandom(600_000))
    assert (await alice.content.remove(schema.ContentParams(cid=other))).blocks == 4
    gone = await alice.content.remove(schema.ContentParams(cid=whole))
    assert (gone.pins, gone.blocks) == (1, 3), "all but the leaf that both have"
    rest = schema.ContentWriteParams(upload=given_up.upload, offset=unixfs.CHUNK_BYTES, data=data[unixfs.CHUNK_BYTES :])
    await alice.content.write(rest)
    done = await alice.content.finish(schema.ContentUploadParams(upload=given_up.upload))
    assert await alice.get(done.cid) == data


async def test_who_removes_what_messages_of_its_own_refer_to_is_told_where(hosts):
    alice = await hosts("alice")
    cid = await alice.put(os.urandom(1000))
    said = message(1, sender=alice.peer, references=f'["{cid}"]')
    await alice.store.log.append(AgentId(alice.peer), said, now=5)
    assert (await alice.content.remove(schema.ContentParams(cid=cid))).rooms == [said.room]
    other = await alice.put(os.urandom(1000))
    assert (await alice.content.remove(schema.ContentParams(cid=other))).rooms == []


async def test_removing_spares_what_others_keep(hosts):
    alice = await hosts("alice")
    data = os.urandom(600_000)
    cid = await alice.put(data)
    entries = [schema.ContentEntry(name="a", cid=cid)]
    above = await alice.content.directory(schema.ContentDirectoryParams(entries=entries))
    gone = await alice.content.remove(schema.ContentParams(cid=cid))
    assert (gone.pins, gone.blocks) == (1, 0)
    assert await alice.get(cid) == data
    gone = await alice.content.remove(schema.ContentParams(cid=above.cid))
    assert gone.blocks == 5
    assert (await alice.content.show()).blocks == 0
    assert code(await alice.content.remove(schema.ContentParams(cid=cid))) == "content_not_found"
    await trio.testing.wait_all_tasks_blocked()
    assert not any(alice.exchange.swarm.provided.values())


async def test_pins(hosts):
    alice = await hosts("alice")
    cid = await alice.put(b"kept", name="kept.txt")
    again = await alice.content.pin(schema.ContentPinParams(cid=cid, retention="cache"))
    assert (again.name, again.retention) == ("kept.txt", "cache")
    elsewhere = str(Cid.of(RAW, b"elsewhere"))
    assert (await alice.content.pin(schema.ContentPinParams(cid=elsewhere))).size == 0
    assert code(await alice.content.unpin(schema.ContentParams(cid=str(Cid.of(RAW, b"other"))))) == "not_pinned"
    assert set(await alice.kept()) == {cid, elsewhere}
    page = await alice.content.list(schema.ContentListParams(limit=1))
    assert (len(page.pins), page.more) == (1, True)
    rest = await alice.content.list(schema.ContentListParams(limit=1, after=page.last))
    assert {page.pins[0].cid, rest.pins[0].cid} == {cid, elsewhere}


async def test_budgets_of_what_is_kept_for_others(hosts):
    alice = await hosts("alice", total=1_500_000, room=1_000_000)
    block = Block.of(RAW, os.urandom(600_000))
    more = Block.of(RAW, os.urandom(600_000))
    await alice.content.keep(alice.agent, "room:lab", [block], "mirrored")
    with pytest.raises(QuotaExceededError, match="storage_room"):
        await alice.content.keep(alice.agent, "room:lab", [more], "mirrored")
    await alice.content.keep(alice.agent, "room:other", [more], "mirrored")
    third = Block.of(RAW, os.urandom(600_000))
    with pytest.raises(QuotaExceededError, match="storage_total"):
        await alice.content.keep(alice.agent, "room:third", [third], "mirrored")
    shown = await alice.content.show()
    assert (shown.others, shown.others_limit) == (1_200_000, 1_500_000)
    # what is kept already may be kept for longer
    await alice.content.keep(alice.agent, "room:lab", [block], "archival")
    # one's own is limited by the disk only
    assert await alice.put(os.urandom(2_000_000))
