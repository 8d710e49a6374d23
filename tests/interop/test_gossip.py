"""One room of ours, js-libp2p and go-libp2p together: ten of each, half of which speak GossipSub 1.1 and no more."""

from __future__ import annotations

import base64
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from nexusd_protocols.identity import peer_id_bytes, public_key_of
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness import go, js
from tests.harness.daemon import Daemon, Home
from tests.harness.foreign import ForeignPeer
from tests.harness.go import GoPeer
from tests.harness.js import JsPeer
from tests.harness.mallory import chat, packed, rpc
from tests.harness.nodes import running, signer
from tests.interop.members import PREFIX, DaemonMember, ForeignNode, Member, OwnNode, all_heard, meshed

OWN_NODES = 8
DAEMONS = 2
FOREIGN = 10
LINKS = 5
MESSAGES = 1000
SETTLE_SECONDS = 60.0
ROUND_SECONDS = 30.0
"""Thirty nodes of three implementations on the cores of a test machine: seconds, where nobody else uses them."""

VERSIONS = [{"gossip": "1.2"}, {"gossip": "1.1"}]


@asynccontextmanager
async def crowd(directory: Path, foreign: int = FOREIGN) -> AsyncIterator[tuple[list[Member], JsPeer, GoPeer]]:
    """Everybody, not connected yet, and the foreign processes; a half of each kind speaks the older version."""
    js.require()
    go.require()
    nodes = [VERSIONS[number % 2] for number in range(foreign)]
    async with AsyncExitStack() as stack:
        carol = stack.enter_context(JsPeer("js", directory, nodes=[*nodes, {}]))
        gopher = stack.enter_context(GoPeer("go", directory, nodes=[*nodes, {"gossip": "1.2"}]))
        home = Home()
        stack.callback(home.remove)
        daemons = [stack.enter_context(Daemon(f"daemon{number}", home)) for number in range(DAEMONS)]
        ours = [OwnNode(f"node-{n}", newest=VERSIONS[n % 2]["gossip"]) for n in range(OWN_NODES)]
        await stack.enter_async_context(running(*[member.node for member in ours]))
        members: list[Member] = [*ours, *[DaemonMember(daemon) for daemon in daemons]]
        for peer in (carol, gopher):
            members += [ForeignNode(peer, number) for number in range(foreign)]
        yield members, carol, gopher


async def gather(members: list[Member], room: str, seed: int) -> None:
    """Each dials some of those before it, all join, and all are in the mesh."""
    print("seed", seed)
    choose = random.Random(seed)
    choose.shuffle(members)
    for index, member in enumerate(members):
        for other in choose.sample(members[:index], min(LINKS, index)):
            await member.dial(other.address)
    for member in members:
        await member.join(room)
    # a daemon tells members, not neighbours; the rest have the specification's D_low
    await meshed([m for m in members if m.kind != "daemon"], room, 4, SETTLE_SECONDS)


async def rounds(members: list[Member], room: str, messages: int) -> dict[str, str]:
    """All speak in turn, and a round begins when everybody heard the last: nobody is overrun, however slow the machine.
    Gives the id of each message and its author."""
    said: dict[str, str] = {}
    while len(said) < messages:
        fresh: dict[str, str] = {}
        async with trio.open_nursery() as nursery:
            for member in members[: messages - len(said)]:
                nursery.start_soon(speak, member, room, f"{len(said)}-{member.peer_id[-8:]}", fresh)
        await all_heard(members, fresh, ROUND_SECONDS)
        said |= fresh
    return said


async def speak(member: Member, room: str, name: str, said: dict[str, str]) -> None:
    said[await member.say(room, name)] = member.peer_id


async def check_scores(members: list[Member]) -> None:
    """Nobody thinks ill of anybody: they are all honest."""
    everybody = {member.peer_id for member in members}
    for member in members:
        scores = {peer: score for peer, score in (await member.scores()).items() if peer in everybody}
        print(member.kind, member.peer_id, sorted(round(score, 2) for score in scores.values()))
        assert scores
        assert all(score >= 0 for score in scores.values()), (member.kind, scores)


@pytest.mark.slow
async def test_everybody_hears_everybody_once(tmp_path: Path) -> None:
    async with crowd(tmp_path) as (members, _, gopher):
        await gather(members, "crowd", seed=4)
        said = await rounds(members, "crowd", MESSAGES)
        assert len(said) == MESSAGES
        for member in members:
            wanted = {name for name, author in said.items() if author != member.peer_id}
            assert member.heard == Counter(wanted), (member.kind, member.heard - Counter(wanted))
        await check_scores(members)
        assert not gopher.all_events("dropped")
        assert not gopher.all_events("undeliverable")


CAROL = signer("carol").peer_id
FAULTS = {
    "no signature": {"signature": b""},
    "a wrong signature": {"signature": bytes(64)},
    "a key that is another's": {"key": b"\x08\x01\x12\x20" + public_key_of(CAROL)},
    "another's name": {"from_id": peer_id_bytes(CAROL)},
}


@pytest.mark.slow
async def test_nobody_spreads_what_its_author_did_not_sign(tmp_path: Path) -> None:
    room, topic = "forged", PREFIX + "forged"
    async with crowd(tmp_path, foreign=2) as (members, carol, gopher):
        await gather(members, room, seed=5)
        alice = next(member for member in members if isinstance(member, OwnNode))
        for mallory, name in ((carol, "mallory-js"), (gopher, "mallory-go")):
            await attack(mallory, alice, members, topic, name)
        await check_scores(members)


async def attack(peer: ForeignPeer, alice: OwnNode, members: list[Member], topic: str, name: str) -> None:
    """The last node of the process tells alice a true message, which everybody hears, and forged ones, which nobody."""
    number = len(peer.nodes) - 1
    await peer.ask("dial", node=number, address=alice.address)
    author = signer(name)

    def signed(what: str, seqno: int) -> SignedMessage:
        return SignedMessage.sign(author, topic, chat(author.peer_id, topic, what, id=f"{name}-{seqno}"), seqno)

    async def tell(*rpcs: bytes) -> None:
        pieces = [base64.b64encode(raw).decode() for raw in rpcs]
        await peer.ask(
            "stream", node=number, peer=alice.peer_id, protocol="/meshsub/1.1.0", base64=pieces, timeoutMs=500
        )

    await tell(rpc(packed(signed("true", 1))))
    await all_heard(members, {f"{name}-1": author.peer_id}, ROUND_SECONDS)
    counters = alice.node.topics.router.counters
    before = counters.malformed + counters.topics[topic].rejected
    forged = [packed(signed(what, seqno), **fields) for seqno, (what, fields) in enumerate(FAULTS.items(), 2)]
    await tell(*[rpc(message) for message in forged])
    with trio.fail_after(ROUND_SECONDS):
        while counters.malformed + counters.topics[topic].rejected < before + len(forged):
            await trio.sleep(0.05)
    marker = await alice.say(topic.removeprefix(PREFIX), f"after-{name}")
    await all_heard(members, {marker: alice.peer_id}, ROUND_SECONDS)
    for member in members:
        assert not [heard for heard in member.heard if heard.startswith(name) and heard != f"{name}-1"]
    scores = await alice.scores()
    assert scores[peer.nodes[number]["peerId"]] < -500
