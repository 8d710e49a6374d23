"""Each command: what it asks of the daemon, what a person sees, and what a program gets."""

import threading

import msgspec
import pytest
from msgspec.structs import replace

from nexusd.cli import node
from nexusd.cli.main import COMMANDS, build
from nexusd_protocols.rpc import schema
from tests.unit.cli.answers import ALICE, BOB, DM, MESSAGE, STATUS, THEN, UPPER

PROFILE = schema.Profile(agent=ALICE, display_name="alice", description="", agent_type="autonomous")

# command line, method, result, parameters that were asked with, what a terminal shows
CASES = [
    (
        ["status"],
        "node.status",
        STATUS,
        schema.Empty(),
        f"""\
name       alice (process 42, version 0.1.0, up 2 h)
peer id    {ALICE}
address    /ip4/127.0.0.1/tcp/4001/p2p/{ALICE}
           /ip4/127.0.0.1/tcp/4002/ws/p2p/{ALICE}
role       full
peers      1 connected, 3 known
           1 of 128 connections, 0 of 96 inbound, 7 refused since the start
rooms      general, news
serves     nothing
discovery  mdns: on 127.0.0.1
           bootstrap: 2 addresses
data       /data/alice
socket     /data/alice/nexusd.sock
""",
    ),
    (
        ["connect", "/ip4/1.2.3.4/tcp/1"],
        "peers.connect",
        schema.Peer(peer_id=BOB, connected=True),
        schema.PeersConnectParams(address="/ip4/1.2.3.4/tcp/1"),
        f"connected to {BOB}\n",
    ),
    (
        ["peers", "--connected"],
        "peers.list",
        schema.PeersList(peers=[]),
        schema.PeersListParams(connected=True),
        "no peers yet; `nexus connect <multiaddr>` dials one by hand\n",
    ),
    (
        ["peers", "list", "--blocked"],
        "peers.list",
        schema.PeersList(peers=[schema.Peer(peer_id=BOB, connected=False, blocked=True, block_reason="spam")]),
        schema.PeersListParams(blocked=True),
        f"""\
PEER      NAME  STATE          FOUND BY  SEEN   ADDRESS
{BOB[-8:]}        blocked: spam            never

PEER is the end of the peer id (8 characters), enough for commands; --full shows all of it.
""",
    ),
    (
        ["peers", "list", "--full"],
        "peers.list",
        schema.PeersList(
            peers=[
                schema.Peer(
                    peer_id=BOB,
                    connected=True,
                    direction="in",
                    display_name="bob",
                    addresses=["/a", "/b"],
                    source="mdns",
                )
            ]
        ),
        schema.PeersListParams(),
        f"""\
PEER                                                  NAME  STATE           FOUND BY  SEEN  ADDRESS
{BOB}  bob   connected (in)  mdns      now   /a
                                                                                            /b
""",
    ),
    (
        ["peers"],
        "peers.list",
        schema.PeersList(
            peers=[
                schema.Peer(peer_id=BOB, connected=True, direction="out", direct=True),
                schema.Peer(peer_id=BOB, connected=False, direct=True, source="direct"),
            ]
        ),
        schema.PeersListParams(),
        f"""\
PEER      NAME  STATE                    FOUND BY  SEEN   ADDRESS
{BOB[-8:]}        connected (out), direct            now
{BOB[-8:]}        away, direct             direct    never

PEER is the end of the peer id (8 characters), enough for commands; --full shows all of it.
""",
    ),
    (
        ["peers", "block", BOB, "--reason", "noisy"],
        "peers.block",
        schema.Done(),
        schema.PeersBlockParams(peer=BOB, reason="noisy"),
        f"blocked {BOB}\n",
    ),
    (
        ["peers", "unblock", "abcdef"],
        "peers.unblock",
        schema.Done(),
        schema.PeersUnblockParams(peer="abcdef"),
        "unblocked abcdef\n",
    ),
    (
        ["peers", "--banned"],
        "peers.list",
        schema.PeersList(
            peers=[
                schema.Peer(
                    peer_id=BOB,
                    connected=False,
                    display_name="bob",
                    ban=schema.Ban(reason="too_many_pings", since=THEN, until=THEN + 600_000, times=2),
                )
            ]
        ),
        schema.PeersListParams(banned=True),
        f"""\
PEER      NAME  REASON          SINCE                UNTIL                TIMES  BY
{BOB[-8:]}  bob   too_many_pings  2023-11-14 22:13:20  2023-11-14 22:23:20  2      the daemon

A ban ends by itself; `nexus peers unban <peer>` ends it now.
""",
    ),
    (
        ["peers", "list", "--banned"],
        "peers.list",
        schema.PeersList(peers=[]),
        schema.PeersListParams(banned=True),
        "nobody is banned\n",
    ),
    (
        ["peers", "ban", "abcdef", "--for", "2h", "--reason", "too loud"],
        "peers.ban",
        schema.Done(),
        schema.PeersBanParams(peer="abcdef", duration_ms=7_200_000, reason="too loud"),
        "banned abcdef for 2 h\n",
    ),
    (
        ["peers", "ban", "abcdef"],
        "peers.ban",
        schema.Done(),
        schema.PeersBanParams(peer="abcdef", duration_ms=3_600_000),
        "banned abcdef for 1 h\n",
    ),
    (
        ["peers", "unban", "abcdef"],
        "peers.unban",
        schema.Done(),
        schema.PeersUnbanParams(peer="abcdef"),
        "unbanned abcdef\n",
    ),
    (
        ["profile", "show"],
        "profile.get",
        PROFILE,
        schema.ProfileGetParams(),
        f"""\
agent         {ALICE}
display name  alice
description   none
agent type    autonomous
""",
    ),
    (
        ["profile", "set", "--display-name", "alice", "--agent-type", "tool"],
        "profile.set",
        PROFILE,
        schema.ProfileSetParams(display_name="alice", agent_type="tool"),
        None,
    ),
    (["profile", "set", "--description", ""], "profile.set", PROFILE, schema.ProfileSetParams(description=""), None),
    (
        ["room", "join", "general"],
        "room.join",
        schema.Room(room="general", joined_at=THEN, messages=0, members_online=0),
        schema.RoomParams(room="general"),
        "joined general\n",
    ),
    (["room", "leave", "general"], "room.leave", schema.Done(), schema.RoomParams(room="general"), "left general\n"),
    (
        ["room", "list"],
        "room.list",
        schema.RoomsList(rooms=[schema.Room(room="general", joined_at=THEN, messages=12, members_online=2)]),
        schema.ProfileGetParams(),
        """\
ROOM     MESSAGES  ONLINE  JOINED               KEPT      ABOUT
general  12        2       2023-11-14 22:13:20  archival
""",
    ),
    (
        ["room", "send", "general", "hello", "world"],
        "room.send",
        schema.RoomSent(message_id="m1", cursor=1, peers=2),
        schema.RoomSendParams(room="general", content="hello world"),
        "sent m1, handed to 2 peers\n",
    ),
    (
        [
            "room",
            "send",
            "general",
            "*x*",
            "--format",
            "text/markdown",
            "--reply-to",
            "m0",
            "--thread",
            "t",
            "--reference",
            "a",
            "--reference",
            "b",
        ],
        "room.send",
        schema.RoomSent(message_id="m1", cursor=1, peers=0),
        schema.RoomSendParams(
            room="general", content="*x*", format="text/markdown", reply_to="m0", thread_id="t", references=["a", "b"]
        ),
        "sent m1, nobody is there yet\n",
    ),
    (
        ["room", "send", "general", "--", "-5"],
        "room.send",
        schema.RoomSent(message_id="m1", cursor=1, peers=1),
        schema.RoomSendParams(room="general", content="-5"),
        "sent m1, handed to 1 peer\n",
    ),
    (
        ["room", "history", "general", "--limit", "1", "--before", "9"],
        "room.history",
        schema.RoomHistory(messages=[MESSAGE], more=True, first=7, last=7),
        schema.RoomHistoryParams(room="general", limit=1, before=9),
        f"2023-11-14 22:13:20 bob ({BOB[-8:]}): hello\n    world\n",
    ),
    (
        ["room", "history", "general", "--after", "0"],
        "room.history",
        schema.RoomHistory(messages=[], more=False),
        schema.RoomHistoryParams(room="general", after=0),
        "nothing that was said fits\n",
    ),
    (
        ["room", "members", "general"],
        "room.members",
        schema.RoomMembers(
            members=[
                schema.RoomMember(
                    agent=BOB, name="bob", agent_type="tool", status="online", capabilities=["upper"], last_seen=0
                )
            ]
        ),
        schema.RoomParams(room="general"),
        f"""\
PEER      NAME  TYPE  STATUS  CAPABILITIES  SEEN
{BOB[-8:]}  bob   tool  online  upper         never
""",
    ),
    (
        ["dm", "send", BOB, "just", "us"],
        "dm.send",
        schema.DmSent(message_id="d1", peer=BOB, status="stored"),
        schema.DmSendParams(peer=BOB, content="just us"),
        f"stored by {BOB[-8:]}\n",
    ),
    (
        ["dm", "send", BOB, "x"],
        "dm.send",
        schema.DmSent(message_id="d1", peer=BOB, status="unconfirmed"),
        schema.DmSendParams(peer=BOB, content="x"),
        f"sent, unconfirmed: {BOB[-8:]} took it, and its software does not say whether it was stored\n",
    ),
    (
        ["dm", "list", "--peer", BOB, "--limit", "2"],
        "dm.list",
        schema.DmList(messages=[DM, replace(DM, direction="out", status="stored")], more=False),
        schema.DmListParams(peer=BOB, limit=2),
        f"""\
2023-11-14 22:13:20 bob ({BOB[-8:]}): just us
2023-11-14 22:13:20 to {BOB[-8:]} (stored): just us
""",
    ),
    (
        ["capability", "list", BOB],
        "capability.list",
        schema.CapabilityList(peer=BOB, answered=True, capabilities=[UPPER]),
        schema.CapabilityListParams(peer=BOB),
        """\
NAME   AVAILABLE  PRICE  OUTPUT  INPUT MAX  QUEUE  SERVED BY  DESCRIPTION
upper  yes        free   stream  64.0 KiB   1.5 s  command    louder
""",
    ),
    (
        ["capability", "list"],
        "capability.list",
        schema.CapabilityList(peer=BOB, answered=False, capabilities=[]),
        schema.CapabilityListParams(),
        f"{BOB[-8:]} does not serve the handshake: what it can do is unknown, not nothing\n",
    ),
    (
        ["capability", "remove", "upper"],
        "capability.unregister",
        schema.Done(),
        schema.CapabilityNameParams(name="upper"),
        "upper is no longer served\n",
    ),
    (
        [
            "capability",
            "serve",
            "chat",
            "--openai",
            "http://127.0.0.1:1/v1",
            "--model",
            "m",
            "--api-key-env",
            "KEY",
            "--timeout",
            "1.5",
        ],
        "capability.serve",
        UPPER,
        schema.CapabilityServeParams(
            name="chat",
            openai=schema.OpenAiSpec(url="http://127.0.0.1:1/v1", model="m", api_key_env="KEY"),
            timeout_ms=1500,
        ),
        "serving upper; it stays served until it is removed\n",
    ),
    (
        ["config", "show"],
        "config.show",
        schema.ConfigShow(values=[schema.ConfigValue(key="port", value=0, origin="default")]),
        schema.Empty(),
        "KEY   VALUE\nport  0\n",
    ),
    (
        ["config", "show", "--origin"],
        "config.show",
        schema.ConfigShow(values=[schema.ConfigValue(key="listen", value=["/a"], origin="flag --listen")]),
        schema.Empty(),
        'KEY     VALUE   FROM\nlisten  ["/a"]  flag --listen\n',
    ),
]


def ids(case):
    return " ".join(case[0])[:40]


@pytest.mark.parametrize(("args", "method", "result", "params", "shown"), CASES, ids=map(ids, CASES))
def test_command(nexus, daemon, args, method, result, params, shown):
    daemon.script[method] = result
    on_terminal = nexus(*args, tty=True)
    assert (on_terminal.code, daemon.params(method)) == (0, params)
    if shown is not None:
        assert on_terminal.out == shown
    piped = nexus(*args)
    as_json = nexus("--json", *args, tty=True)
    assert piped.out == as_json.out
    assert as_json.err == ""
    assert piped.data == msgspec.to_builtins(result)


def test_every_method_with_a_command_has_that_command():
    app = build()
    for method in schema.METHODS.values():
        words = method.command.split()
        if not words or words[0] != "nexus":
            continue
        at = app
        for word in words[1:]:
            at = at[word]


def test_group_summaries_are_the_schemas():
    for name, method in (
        ("status", "node.status"),
        ("connect", "peers.connect"),
        ("invoke", "capability.invoke"),
        ("stop", "node.shutdown"),
    ):
        assert COMMANDS[name][1] == f"{schema.METHODS[method].summary}."


@pytest.mark.parametrize("text", ["", "x", "1w", "0s", "-1h", "1.5h", "367d", "9999999999d", "1h30min"])
def test_what_is_no_time_for_a_ban(nexus, daemon, text):
    ran = nexus("peers", "ban", BOB, f"--for={text}")
    assert ran.code == 1
    assert daemon.asked == []
    assert "90s, 10min, 2h or 7d" in ran.error["try"]


def test_stop_waits_until_it_is_gone(nexus, daemon, tmp_path):
    lock = tmp_path / "lock"
    lock.write_text("42\n")
    calls = []

    def shutdown(_):
        calls.append(threading.Timer(0.2, lambda: lock.write_text("")))
        calls[0].start()
        return schema.Done()

    daemon.script = {"node.status": replace(STATUS, data_dir=str(tmp_path)), "node.shutdown": shutdown}
    ran = nexus("stop", tty=True)
    calls[0].join()
    assert (ran.code, ran.out) == (0, "alice stopped\n")


def test_stop_does_not_wait_for_ever(nexus, daemon, tmp_path, monkeypatch):
    monkeypatch.setattr(node, "STOP_S", 0.1)
    (tmp_path / "lock").write_text("42\n")
    daemon.script = {
        "node.status": replace(STATUS, data_dir=str(tmp_path)),
        "node.shutdown": schema.Done(),
    }
    assert nexus("stop", tty=True).out == "alice is still draining\n"


def test_more_pages_are_pointed_at_for_people_only(nexus, daemon):
    daemon.script["room.history"] = schema.RoomHistory(messages=[MESSAGE], more=True, first=7, last=7)
    assert nexus("room", "history", "general", tty=True).err == "more: --before 7\n"
    assert nexus("room", "history", "general", "--after", "1", tty=True).err == "more: --after 7\n"
    assert nexus("room", "history", "general", "--json").err == ""
