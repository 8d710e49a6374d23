"""nexus find: what is asked, what a person sees, what goes to stderr, and that no peer's words reach a terminal raw."""

from __future__ import annotations

import time

import msgspec
import pytest
from msgspec.structs import replace

from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.unit.cli.answers import BOB, MALLORY

NOW = 1_760_000_000_000
EVIL = "\x1b[2Jgone\x07\nALICE is confirmed\u202e"
POINTER = schema.FoundPointer(cid="bafy1", seq=1, issued_at=NOW - 120_000, expires_at=NOW + 3_480_000)
PROFILE = schema.FoundProfile(
    name="Bob",
    description="I make text loud",
    agent_type="tool",
    capabilities=["upper", "lower"],
    role="full",
    transports=[],
    created_at=1,
    updated_at=2,
)
AGENT = schema.AgentFound(
    peer_id=BOB,
    connected=True,
    addresses=[f"/ip4/10.0.0.2/tcp/4001/p2p/{BOB}", f"/ip4/10.0.0.2/tcp/4002/ws/p2p/{BOB}"],
    pointer=POINTER,
    profile=PROFILE,
)
MEMBER = schema.FoundMember(
    peer_id=BOB, name="bob", connected=True, pointer=POINTER, description="our lab", members=3, checkpoint=POINTER
)
UPPER = schema.FoundProvider(
    peer_id=BOB,
    name="bob",
    connected=True,
    confirmed=True,
    free=True,
    description="louder",
    streaming=True,
    max_input_bytes=65_536,
    max_duration_ms=600_000,
    rate_limit="4 at once",
    queue_ms=1500,
    pointer=POINTER,
)
PRICE = schema.PriceView(amount="0.1", asset="USDC", network="base")
PAID = replace(
    UPPER,
    peer_id=MALLORY,
    name=None,
    free=False,
    prices=[PRICE, schema.PriceView(amount="0.001", asset="USDC", network="polygon", unit="piece", cap="0.5")],
    queue_ms=0,
)
BARE = schema.FoundProvider(peer_id=MALLORY, connected=False, confirmed=False, source="presence")


@pytest.fixture(autouse=True)
def now(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 1_000_000)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


KEEPING = schema.FoundStorage(
    rooms=[schema.FoundRoom(room="lab", retention="mirrored"), schema.FoundRoom(room="\x1b[2Jx", retention="cache")],
    total_bytes=500 << 20,
    room_bytes=100 << 20,
    references=True,
    pointer=POINTER,
)


CASES = [
    (
        ["find", "agent", BOB],
        "find.agent",
        schema.AgentFound(peer_id=BOB, connected=False, addresses=[], storage=KEEPING, missing="nothing is published"),
        schema.FindAgentParams(peer=BOB),
        f"""\
peer id  {BOB}
keeps    for others: lab (mirrored), x (cache)
         up to 500.0 MiB, 100.0 MiB of one room
profile  none: nothing is published
state    not connected
address  none is known
""",
    ),
    (
        ["find", "agent", BOB],
        "find.agent",
        schema.AgentFound(
            peer_id=BOB,
            connected=False,
            addresses=[],
            storage=replace(KEEPING, rooms=[], references=False),
            missing="nothing is published",
        ),
        schema.FindAgentParams(peer=BOB),
        f"""\
peer id  {BOB}
keeps    for others: no room yet
         no files of messages; up to 500.0 MiB, 100.0 MiB of one room
profile  none: nothing is published
state    not connected
address  none is known
""",
    ),
    (
        ["find", "agent", BOB],
        "find.agent",
        AGENT,
        schema.FindAgentParams(peer=BOB),
        f"""\
peer id    {BOB}
name       Bob
type       tool
role       full
about      I make text loud
can        upper, lower
published  2 min ago, holds until 09:51:20
state      connected
address    /ip4/10.0.0.2/tcp/4001/p2p/{BOB}
           /ip4/10.0.0.2/tcp/4002/ws/p2p/{BOB}
""",
    ),
    (
        ["find", "agent", BOB[-8:]],
        "find.agent",
        schema.AgentFound(peer_id=BOB, connected=False, addresses=[], missing="nothing is published"),
        schema.FindAgentParams(peer=BOB[-8:]),
        f"""\
peer id  {BOB}
profile  none: nothing is published
state    not connected
address  none is known
""",
    ),
    (
        ["find", "room", "lab"],
        "find.room",
        schema.RoomFound(room="lab", members=[MEMBER, replace(MEMBER, here=True, checkpoint=None, members=None)]),
        schema.FindRoomParams(room="lab"),
        f"""\
MEMBER    NAME  STATE      SAID       SEES  HISTORY  DESCRIPTION
{BOB[-8:]}  bob   connected  2 min ago  3     bafy1    our lab
{BOB[-8:]}  bob   this node  2 min ago        none     our lab
""",
    ),
    (
        ["find", "room", "lab", "--limit", "3"],
        "find.room",
        schema.RoomFound(room="lab", members=[]),
        schema.FindRoomParams(room="lab", limit=3),
        "nobody has published that it is in lab; `nexus room join lab` begins it\n",
    ),
    (
        ["find", "capability", "upper"],
        "find.capability",
        schema.CapabilityFound(name="upper", providers=[UPPER, PAID, BARE]),
        schema.FindCapabilityParams(name="upper"),
        f"""\
PROVIDER  NAME  AVAILABLE    {"PRICE":<62}  INPUT MAX  TIME MAX  RATE       QUEUE  SAID       DESCRIPTION
{BOB[-8:]}  bob   yes          {"free":<62}  64.0 KiB   10 min    4 at once  1.5 s  2 min ago  louder
{MALLORY[-8:]}        yes          {"0.1 USDC on base":<62}  64.0 KiB   10 min    4 at once  none   2 min ago  louder
                             or 0.001 USDC a piece, by tabs of 0.5 USDC at most, on polygon
{MALLORY[-8:]}        unconfirmed  {"unknown":<62}  ?          ?         ?          ?      presence
""",
    ),
    (
        ["find", "capability", "upper", "--limit", "1"],
        "find.capability",
        schema.CapabilityFound(name="upper", providers=[]),
        schema.FindCapabilityParams(name="upper", limit=1),
        "nobody was found who offers upper now\n",
    ),
]


@pytest.mark.parametrize(("args", "method", "result", "params", "shown"), CASES)
def test_command(nexus, daemon, args, method, result, params, shown):
    daemon.script[method] = result
    on_terminal = nexus(*args, tty=True)
    assert (on_terminal.code, daemon.params(method)) == (0, params)
    assert (on_terminal.out, on_terminal.err) == (shown, "")
    assert nexus("--json", *args, tty=True).data == nexus(*args).data == msgspec.to_builtins(result)


@pytest.mark.parametrize(
    ("args", "method", "result", "said"),
    [
        (
            ["find", "capability", "upper"],
            "find.capability",
            schema.CapabilityFound(name="upper", providers=[], unreachable=2, unavailable=1, unproven=3),
            "left out: 2 unreachable, 1 unavailable, 3 unproven\n",
        ),
        (
            ["find", "room", "lab"],
            "find.room",
            schema.RoomFound(room="lab", members=[], unproven=2),
            "left out: 2 unproven (named by others, without a signed pointer)\n",
        ),
    ],
)
def test_who_was_left_out_is_told_to_people(nexus, daemon, args, method, result, said):
    daemon.script[method] = result
    assert nexus(*args, tty=True).err == said
    assert nexus("--json", *args).err == ""


HOSTILE = [
    (["find", "agent", BOB], "find.agent", replace(AGENT, profile=replace(PROFILE, name=EVIL, description=EVIL))),
    (["find", "agent", BOB], "find.agent", replace(AGENT, profile=None, missing=EVIL, addresses=[EVIL])),
    (
        ["find", "agent", BOB],
        "find.agent",
        replace(AGENT, profile=replace(PROFILE, capabilities=[EVIL], agent_type=EVIL, role=EVIL)),
    ),
    (
        ["find", "room", "lab"],
        "find.room",
        schema.RoomFound(room="lab", members=[replace(MEMBER, name=EVIL, description=EVIL)]),
    ),
    (["find", "room", "lab"], "find.room", schema.RoomFound(room=EVIL, members=[])),
    (
        ["find", "capability", "upper"],
        "find.capability",
        schema.CapabilityFound(
            name="upper",
            providers=[
                replace(
                    PAID,
                    name=EVIL,
                    description=EVIL,
                    rate_limit=EVIL,
                    prices=[schema.PriceView(amount="1", asset=EVIL, network=EVIL)],
                )
            ],
        ),
    ),
]


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"network": "polygon"}, "0.1 USDC on polygon"),
        ({"known": False, "amount": "100000"}, "100000 smallest units of USDC on base"),
        ({"network": ""}, "0.1 USDC on a network that is not named"),
        ({"unit": "token", "per": 1000000}, "0.1 USDC for 1000000 tokens of output on base"),
        ({"unit": "piece", "cap": "2"}, "0.1 USDC a piece, by tabs of 2 USDC at most, on base"),
        ({"unit": "other"}, "0.1 USDC a unit that is not known here on base"),
    ],
)
def test_a_price_in_words(nexus, daemon, changes, shown):
    provider = replace(PAID, prices=[replace(PRICE, **changes)])
    daemon.script["find.capability"] = schema.CapabilityFound(name="upper", providers=[provider])
    assert f"yes        {shown}  64.0 KiB" in nexus("find", "capability", "upper", tty=True).out


@pytest.mark.parametrize(("args", "method", "result"), HOSTILE)
def test_what_others_say_moves_no_cursor_and_forges_no_line(nexus, daemon, args, method, result):
    daemon.script[method] = result
    shown = nexus(*args, tty=True).out
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    assert not any(line.startswith("ALICE") for line in shown.splitlines())
    piped = nexus(*args)
    assert not set(piped.out) & {"\x1b", "\x07", "\u202e"}
    assert piped.data == msgspec.to_builtins(result), "as it was said, and escaped"


def test_nobody_knows_the_agent(nexus, daemon):
    daemon.script["find.agent"] = Refusal("unknown_peer", "Nobody knows it")
    ran = nexus("find", "agent", BOB)
    assert (ran.code, ran.error["code"]) == (2, "unknown_peer")
