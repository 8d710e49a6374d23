"""What commands take in, and what of a peer's words they show."""

import pytest
from msgspec.structs import replace

from nexusd_protocols.rpc import schema
from tests.unit.cli.answers import BOB, DM, MALLORY, MESSAGE, UPPER


# --- text from standard input -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("args", [["room", "send", "general"], ["room", "send", "general", "-"]])
def test_text_comes_from_standard_input(nexus, daemon, args):
    daemon.script["room.send"] = schema.RoomSent(message_id="m", cursor=1, peers=1)
    assert nexus(*args, stdin="grüße\nan alle\n".encode()).code == 0
    assert daemon.params("room.send").content == "grüße\nan alle"


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"", "the text is empty"),
        (b"\n", "the text is empty"),
        (b"\xff\xfe", "standard input is not UTF-8 (byte 0)"),
        (b"x" * 262_145, "standard input has more than 262144 bytes"),
        (None, "there is no text"),
    ],
)
def test_text_that_cannot_be_sent(nexus, daemon, stdin, message):
    ran = nexus("dm", "send", BOB, stdin=stdin)
    assert ran.error["code"] == "usage"
    assert ran.error["message"] == message
    assert daemon.asked == []


# --- serving a command ------------------------------------------------------------------------------------------------
def test_serve_sends_the_program_that_this_shell_finds(nexus, daemon, tmp_path, monkeypatch):
    program = tmp_path / "shout"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    daemon.script["capability.serve"] = UPPER
    ran = nexus("capability", "serve", "upper", "--jsonl", "--max-concurrent", "2", "--", "shout", "--json", "-n", "x")
    assert ran.code == 0, ran
    asked = daemon.params("capability.serve")
    assert asked.command == schema.CommandSpec(argv=[str(program), "--json", "-n", "x"], cwd=str(tmp_path), jsonl=True)
    assert (asked.max_concurrent, asked.openai) == (2, None)
    nexus("capability", "serve", "upper", "--", "./shout")
    assert daemon.params("capability.serve").command.argv == [str(program)]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["x"], "exactly one of a command and --openai is to be served"),
        (["x", "--openai", "u", "--model", "m", "--", "cat"], "exactly one of a command and --openai"),
        (["x", "--openai", "u"], "--openai needs --model"),
        (["x", "--openai", "u", "--model", "m", "--jsonl"], "--openai needs --model, and has no --jsonl"),
        (["x", "--model", "m", "--", "cat"], "--model and --api-key-env belong to --openai"),
        (["x", "--", "no-such-program-here"], "there is no command 'no-such-program-here'"),
        (["x", "--network", "base", "--", "cat"], "--network, --asset, --pay-to and --tab belong to --price"),
        (["x", "--tab", "--tab-price", "1", "--", "cat"], "--tab and --tab-price say the same"),
        (["x", "--price", "1", "--per", "byte", "--", "cat"], "--per belongs to --tab"),
        (["x", "--price", "1", "--tab", "--per", "mile", "--", "cat"], "'mile' is nothing that is counted"),
        (["x", "--price", "1", "--tab", "--per", "0bytes", "--", "cat"], "'0bytes' is nothing that is counted"),
        (["x", "--price", "1@", "--", "cat"], "'1@' is no price"),
        (["x", "--price", "1@base/", "--", "cat"], "'1@base/' is no price"),
        (["x", "--price", "1@base", "--network", "polygon", "--", "cat"], "each price says where it is paid"),
    ],
)
def test_serve_refuses_what_makes_no_sense(nexus, daemon, args, message):
    ran = nexus("capability", "serve", *args)
    assert ran.code == 1
    assert ran.error["message"].startswith(message)
    assert daemon.asked == []


def spec(amount, network="base", **fields):
    return schema.PriceSpec(amount=amount, network=network, **fields)


@pytest.mark.parametrize(
    ("args", "prices"),
    [
        ([], []),
        (["--price", "0.10"], [spec("0.10")]),
        (["--price", "0.10", "--network", "polygon", "--asset", "EURC"], [spec("0.10", "polygon", asset="EURC")]),
        (
            ["--price", "0.10", "--network", "base", "--network", "base-sepolia"],
            [spec("0.10"), spec("0.10", "base-sepolia")],
        ),
        (
            ["--price", "0.10@base", "--price", "0.12@polygon", "--price", "0.11@base/EURC"],
            [spec("0.10"), spec("0.12", "polygon"), spec("0.11", asset="EURC")],
        ),
        (
            ["--price", "0.1", "--price", "0.2@base/EURC", "--network", "polygon"],
            [spec("0.1", "polygon"), spec("0.2", asset="EURC")],
        ),
        (
            ["--price", "0.001", "--tab", "--tab-cap", "0.5", "--pay-to", "0xab"],
            [spec("0.001", tab=True, cap="0.5", pay_to="0xab")],
        ),
        (["--price", "0.001", "--tab", "--per", "token"], [spec("0.001", tab=True, unit="token")]),
        (["--tab-price", "0.6", "--per", "1000000tokens"], [spec("0.6", tab=True, unit="token", per=10**6)]),
        (
            ["--price", "0.1", "--tab-price", "0.001", "--per", "60seconds"],
            [spec("0.1"), spec("0.001", tab=True, unit="second", per=60)],
        ),
        (
            ["--price", "0.1", "--tab-price", "0.001@polygon", "--tab-cap", "2"],
            [spec("0.1"), spec("0.001", "polygon", tab=True, cap="2")],
        ),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_prices_as_they_are_typed(nexus, daemon, args, prices):
    daemon.script["capability.serve"] = schema.Capability(name="x", available=True)
    assert nexus("capability", "serve", "x", *args, "--", "cat").code == 0
    assert daemon.params("capability.serve").prices == prices


def test_what_is_served_for_which_prices_is_said(nexus, daemon):
    one = schema.PriceView(amount="0.1", asset="USDC", network="base", pay_to="0xab")
    other = schema.PriceView(amount="0.001", asset="USDC", network="base", unit="piece", cap="1", pay_to="0xab")
    daemon.script["capability.serve"] = schema.Capability(name="x", available=True, free=False, prices=[one, other])
    networks = [
        schema.NetworkState(network="base", online=True, settles=False, problem="the wallet is locked"),
        schema.NetworkState(network="polygon", online=False, settles=False, problem="unfunded"),
    ]
    daemon.script["pay.settlements"] = schema.PaySettleStatus(networks=networks, totals=[], charges=[])
    ran = nexus("capability", "serve", "x", "--price", "0.1", "--tab-price", "0.001", "--", "cat", tty=True)
    assert ran.err == "base does not settle now: the wallet is locked\n"
    assert ran.out == (
        "serving x for 0.1 USDC on base, or 0.001 USDC a piece, by tabs of 1 USDC at most, on base, paid to 0xab; "
        "it stays served until it is removed\n"
    )
    found = schema.CapabilityList(peer=BOB, answered=True, capabilities=[daemon.script["capability.serve"]])
    daemon.script["capability.list"] = found
    assert nexus("capability", "list", tty=True).out.splitlines()[1:] == [
        f"x     yes        {'0.1 USDC on base':<57}  stream  64.0 KiB   none",
        "                 or 0.001 USDC a piece, by tabs of 1 USDC at most, on base",
    ]
    locked = schema.Capability(name="x", available=False, problem="base: the wallet is locked")
    daemon.script["capability.list"] = schema.CapabilityList(peer=BOB, answered=True, capabilities=[locked])
    assert nexus("capability", "list", tty=True).out.splitlines()[1:] == [
        "x     no         free   stream  64.0 KiB   none",
        "x is not available: base: the wallet is locked",
    ]


# --- peers' text ------------------------------------------------------------------------------------------------------
NASTY = "\x1b]0;owned\x07\x1b[31mevil\u202e\x9b2J\r\nnexus: forged"


def test_what_peers_say_does_not_reach_the_terminal_raw(nexus, daemon):
    """Every place where a peer's words are shown."""
    message = replace(MESSAGE, content=NASTY, sender_name=NASTY, format=NASTY)
    dm = replace(DM, content=NASTY, sender_name=NASTY)
    daemon.script = {
        "peers.list": schema.PeersList(
            peers=[
                schema.Peer(
                    peer_id=MALLORY,
                    connected=True,
                    display_name=NASTY,
                    agent_version=NASTY,
                    addresses=[NASTY],
                    source=NASTY,
                    score=schema.PeerScore(
                        total=-1.0, topics=[schema.TopicScore(topic=NASTY, in_mesh=True, p1=0, p2=0, p3=0, p3b=0, p4=0)]
                    ),
                )
            ]
        ),
        "room.history": schema.RoomHistory(messages=[message], more=False),
        "room.members": schema.RoomMembers(
            members=[
                schema.RoomMember(
                    agent=MALLORY, name=NASTY, agent_type=NASTY, status="online", capabilities=[NASTY], last_seen=0
                )
            ]
        ),
        "dm.list": schema.DmList(messages=[dm], more=False),
        "capability.list": schema.CapabilityList(
            peer=MALLORY, answered=True, capabilities=[schema.Capability(name=NASTY, available=True, description=NASTY)]
        ),
        "profile.get": schema.Profile(agent=MALLORY, display_name=NASTY, description=NASTY, agent_type=NASTY),
    }
    for args in (
        ["peers"],
        ["peers", "--full"],
        ["peers", "--scores"],
        ["room", "history", "general"],
        ["room", "members", "general"],
        ["dm", "list"],
        ["capability", "list", MALLORY],
        ["profile", "show"],
        ["rpc", "peers.list"],
    ):
        shown = nexus(*args, tty=True)
        assert shown.code == 0, shown
        visible = shown.out.replace("\n", "")
        assert visible.isprintable(), (args, shown.out)
        assert "evil" in shown.out, args
        assert not any(line.startswith("nexus: forged") for line in shown.out.splitlines()), args
        piped = nexus(*args)
        assert "\x1b" not in piped.out, "JSON escapes it"
        assert "\\u001b]0;owned\\u0007" in piped.out, "and nothing of it is lost"
