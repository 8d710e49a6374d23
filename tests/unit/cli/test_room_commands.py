"""The commands about a room's history: what they ask of the daemon, what a person sees, and how they end."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from nexusd.cli import content, times
from nexusd.cli.outcome import Answer
from nexusd.cli.usage import UsageError
from nexusd_protocols.history.bounds import HISTORY_EPOCH_MS
from nexusd_protocols.rpc import schema
from tests.unit.cli.answers import BOB, THEN

SHORT = BOB[-8:]
NOW = THEN + 86_400_000
CID = "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
MESSAGE = schema.RoomMessage(
    room="lab",
    message_id="m1",
    sender=BOB,
    sender_name="bob",
    timestamp=THEN,
    received_at=NOW,
    content="hello",
    format="text/plain",
    digest="00" * 32,
    position=7,
)
ROOM = schema.Room(room="lab", joined_at=THEN, messages=0, members_online=1)
SENT = schema.RoomSent(message_id="m2", cursor=1, peers=1)
PAGE = schema.RoomHistory(messages=[MESSAGE], more=False)
VERSION = schema.RoomVersion(
    kind="chat",
    message_id="m1",
    sender=BOB,
    sender_name="bob",
    timestamp=THEN,
    received_at=THEN,
    content="hullo",
    format="text/plain",
    digest="00" * 32,
)
SOUND = schema.RoomVerified(
    room="lab",
    sound=True,
    agreed=True,
    messages=120,
    batches=2,
    days=1,
    head=CID,
    fault_count=0,
    faults=[],
    peers=[schema.RoomAgreement(peer=BOB, peer_name="bob", outcome="equal", since=THEN, messages=120, received=3)],
    duration_ms=1500,
)
FAULT = schema.RoomFault(what="message", name="ab" * 32, reason="bad_signature")

CASES = [
    (
        ["room", "create", "lab", "--description", "our lab", "--retention", "retained"],
        "room.create",
        ROOM,
        schema.RoomCreateParams(room="lab", description="our lab", retention="retained"),
        "created lab\n",
    ),
    (
        ["room", "mirror", "lab", "--class", "cache"],
        "room.mirror",
        replace(ROOM, mirror=True, retention="cache"),
        schema.RoomMirrorParams(room="lab", retention="cache"),
        "keeps a copy of lab (cache)\n",
    ),
    (
        ["room", "history", "lab"],
        "room.history",
        schema.RoomHistory(messages=[], more=False),
        schema.RoomHistoryParams(room="lab"),
        "nothing was said yet that has come here: `nexus room sync lab` asks the members\n",
    ),
    (
        ["room", "mirror", "lab", "--class", "retained"],
        "room.mirror",
        replace(ROOM, retention="retained"),
        schema.RoomMirrorParams(room="lab", retention="retained"),
        "this daemon is in lab and keeps a copy already (retained from now on); it stays when you leave\n",
    ),
    (
        ["room", "mirror", "lab", "--off"],
        "room.mirror",
        ROOM,
        schema.RoomMirrorParams(room="lab", off=True),
        "mirrors lab no more\n",
    ),
    (
        ["room", "list"],
        "room.list",
        schema.RoomsList(rooms=[replace(ROOM, mirror=True, retention="mirrored", description="our lab")]),
        schema.ProfileGetParams(),
        """\
ROOM  MESSAGES  ONLINE  JOINED  KEPT      ABOUT
lab   0         1       mirror  mirrored  our lab
""",
    ),
    (
        [
            *("room", "history", "lab", "--ids", "--author", SHORT, "--thread", "t"),
            *("--since", "2023-11-14T20:00+00:00", "--before", "2023-11-15T00:00+00:00"),
        ],
        "room.history",
        schema.RoomHistory(messages=[replace(MESSAGE, edited_at=NOW, references=[CID])], more=False),
        schema.RoomHistoryParams(
            room="lab", since=1_699_992_000_000, until=1_700_006_400_000, author=SHORT, thread_id="t"
        ),
        f"2023-11-14 22:13:20 m1 bob ({SHORT}) [edited]: hello\n    -> {CID}\n",
    ),
    (
        ["room", "history", "lab"],
        "room.history",
        schema.RoomHistory(messages=[replace(MESSAGE, content="", retracted=True, references=[CID])], more=False),
        schema.RoomHistoryParams(room="lab"),
        f"2023-11-14 22:13:20 bob ({SHORT}) [retracted]:\n",
    ),
    (
        ["room", "search", "lab", "hello", "wor*", "--limit", "5", "--before", "9"],
        "room.search",
        PAGE,
        schema.RoomSearchParams(room="lab", query="hello wor*", limit=5, before=9),
        f"2023-11-14 22:13:20 bob ({SHORT}): hello\n",
    ),
    (
        ["room", "search", "lab", "nothing"],
        "room.search",
        schema.RoomHistory(messages=[], more=False),
        schema.RoomSearchParams(room="lab", query="nothing"),
        "nothing found\n",
    ),
    (
        ["room", "versions", "lab", "m1"],
        "room.versions",
        schema.RoomVersions(
            versions=[
                VERSION,
                replace(VERSION, kind="edit", message_id="m2", content="hello\nall"),
                replace(VERSION, kind="retract", message_id="m3", content=""),
            ]
        ),
        schema.RoomMessageParams(room="lab", message_id="m1"),
        f"""\
2023-11-14 22:13:20 bob ({SHORT}) said: hullo
2023-11-14 22:13:20 bob ({SHORT}) edited it to: hello
    all
2023-11-14 22:13:20 bob ({SHORT}) took it back
""",
    ),
    (
        ["room", "edit", "lab", "m1", "hello,", "all"],
        "room.edit",
        SENT,
        schema.RoomEditParams(room="lab", message_id="m1", content="hello, all"),
        "sent m2, handed to 1 peer\n",
    ),
    (
        ["room", "retract", "lab", "m1"],
        "room.retract",
        SENT,
        schema.RoomMessageParams(room="lab", message_id="m1"),
        "sent m2, handed to 1 peer\n",
    ),
    (
        ["room", "sync", "lab"],
        "room.sync",
        schema.RoomSynced(
            peers=[
                schema.RoomSyncedPeer(peer=BOB, peer_name="bob", received=3, sent=1),
                schema.RoomSyncedPeer(peer=BOB),
                schema.RoomSyncedPeer(peer=BOB, error="it went away"),
            ],
            messages=9,
        ),
        schema.RoomParams(room="lab"),
        f"bob ({SHORT}): 3 received, 1 sent\n{SHORT}: nothing new\n{SHORT}: it went away\n",
    ),
    (
        ["room", "sync", "lab"],
        "room.sync",
        schema.RoomSynced(peers=[], messages=0),
        schema.RoomParams(room="lab"),
        "nobody is there\n",
    ),
    (
        ["room", "verify", "lab", "--peers", "1"],
        "room.verify",
        SOUND,
        schema.RoomVerifyParams(room="lab", peers=1),
        f"""\
room      lab
messages  120, each signed by its author
history   2 batches in 1 day
head      {CID}
took      1 s

PEER      NAME  HOLDS     MESSAGES  SINCE                NEW TO US
{SHORT}  bob   the same  120       2023-11-14 22:13:20  3

sound, and the same at 1 of 1 asked
""",
    ),
]


@pytest.mark.parametrize(("argv", "method", "result", "params", "text"), CASES, ids=lambda value: str(value)[:40])
def test_command(nexus, daemon, argv, method, result, params, text) -> None:
    daemon.script[method] = result
    ran = nexus(*argv, tty=True)
    assert (ran.code, ran.out) == (0, text)
    assert daemon.params(method) == params


def test_what_is_not_sound_ends_with_1_and_still_gives_the_result(nexus, daemon) -> None:
    daemon.script["room.verify"] = replace(SOUND, sound=False, fault_count=1, faults=[FAULT])
    ran = nexus("room", "verify", "lab", tty=True)
    assert ran.code == 1
    assert ran.out.endswith(f"message {'ab' * 32}: bad_signature\n\nNOT SOUND: 1 fault\n")
    ran = nexus("room", "verify", "lab", "--json")
    assert ran.code == 1
    assert '"ok":true' in ran.out
    assert '"sound":false' in ran.out


def test_a_member_that_holds_something_else_ends_with_1(nexus, daemon) -> None:
    other = replace(SOUND.peers[0], outcome="differs", detail="1 message more")
    daemon.script["room.verify"] = replace(SOUND, agreed=False, peers=[other])
    ran = nexus("room", "verify", "lab", tty=True)
    assert ran.code == 1
    assert "SOMETHING ELSE: 1 message more" in ran.out
    assert ran.out.endswith("sound here, and a member holds something else\n")


def test_what_is_kept_for_ever_was_compared_from_the_beginning(nexus, daemon) -> None:
    member = replace(SOUND.peers[0], since=HISTORY_EPOCH_MS)
    daemon.script["room.verify"] = replace(SOUND, peers=[member])
    shown = nexus("room", "verify", "lab", tty=True).out
    assert "  120       the beginning  3\n" in shown
    assert "2024" not in shown


def test_nobody_is_asked_and_nothing_is_sealed(nexus, daemon) -> None:
    daemon.script["room.verify"] = replace(SOUND, head=None, peers=[])
    ran = nexus("room", "verify", "lab", "--peers", "0", tty=True)
    assert ran.code == 0
    assert "head      none yet" in ran.out
    assert ran.out.endswith("sound; nobody was asked\n")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - 90_000),
        ("2h", NOW - 7_200_000),
        ("7d", NOW - 7 * 86_400_000),
        ("999999999d", 0),
        ("2023-11-14T22:13:20", THEN),
        ("2023-11-14T22:13:20+00:00", THEN),
        ("2023-11-14", THEN - 80_000_000),
    ],
)
def test_moments(monkeypatch: pytest.MonkeyPatch, nexus, text: str, moment: int) -> None:
    assert times.moment("--since", text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2h ago", "-1d", "2023-13-01", "1w"])
def test_no_moments(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        times.moment("--since", text, NOW)


def test_an_attachment_is_put_and_referred_to(nexus, daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    put = []

    def fake(path: str) -> Answer[content.Put]:
        put.append(path)
        return Answer(content.Put(cid=CID, size=1, total_size=1, files=1, skipped=[]), str)

    monkeypatch.setattr(content, "put", fake)
    daemon.script["room.send"] = SENT
    assert nexus("room", "send", "lab", "see", "this", "--attach", "docs/report.pdf", "--reference", "m1").code == 0
    assert put == ["docs/report.pdf"]
    assert daemon.params("room.send") == schema.RoomSendParams(room="lab", content="see this", references=["m1", CID])
    assert nexus("room", "send", "lab", "--attach", "docs/report.pdf", "--attach", "a.txt").code == 0
    assert daemon.params("room.send").content == "report.pdf a.txt"


def test_what_to_do_next(nexus, daemon):
    """On stderr, for people."""
    daemon.script |= {"room.leave": schema.Done(), "room.mirror": replace(ROOM, mirror=True)}
    left = nexus("room", "leave", "lab", tty=True)
    assert left.out == "left lab\n"
    assert left.err == "what was said stays here: `nexus room history lab`; `nexus room join lab` comes back\n"
    mirrored = nexus("room", "mirror", "lab", tty=True)
    assert mirrored.err == "`nexus room history lab` reads it; `nexus room mirror lab --off` ends it\n"
    over = nexus("room", "mirror", "lab", "--off", tty=True)
    assert over.err == "what was kept stays until its time: `nexus room history lab`\n"
    assert nexus("--json", "room", "leave", "lab").err == ""
